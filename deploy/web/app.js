// only with auth: this file

// A web front end in one file: how a page signs in, stays signed in, calls the API and pays. docs/browsers.md says why it does so.
'use strict';

const api = document.querySelector('meta[name=api]').content;

// The access token is in this variable and nowhere else: a reload forgets it, and no storage keeps it for a foreign script. The refresh
// token is in a cookie that no script can read. The browser sends it to one path, when a request says credentials: 'include'.
let access = null;

// Refused is an answer that says no. Decide by its code, which is stable; the words are for people and may change.
class Refused extends Error {
  constructor(status, answer) {
    super(answer?.detail ?? answer?.error_description ?? answer?.title ?? `status ${status}`);
    this.status = status;
    this.code = answer?.code ?? answer?.error;
  }
}

async function send(method, path, options = {}) {
  const response = await fetch(api + path, { method, ...options });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

const json = (body) => ({ body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });

// Signing in.

const signUp = (email, password) => send('POST', '/v1/auth/register', json({ email, password }));

const confirmAddress = (token) => send('POST', '/v1/auth/email/verify', json({ token }));

async function logIn(email, password) {
  let answer = await send('POST', '/v1/auth/login', { ...json({ email, password, refresh_token_in: 'cookie' }), credentials: 'include' });
  if (answer.mfa_token) { // a second factor is asked for
    const code = prompt('The six digits of your app, or a recovery code') ?? '';
    answer = await send('POST', '/v1/auth/mfa/verify', { ...json({ mfa_token: answer.mfa_token, code, refresh_token_in: 'cookie' }), credentials: 'include' });
  }
  access = answer.access_token;
}

// refresh trades the cookie for an access token and the next cookie. One at a time: all calls of this page wait for one promise, all its
// tabs for one lock. keepalive lets the request outlive the page, so that no cookie is used up whose successor nobody got.
let refreshing = null;
function refresh() {
  refreshing ??= navigator.locks.request('refresh', async () => {
    const body = new URLSearchParams({ grant_type: 'refresh_token' });
    const tokens = await send('POST', '/v1/auth/token', { body, credentials: 'include', keepalive: true });
    access = tokens.access_token;
  }).catch((failed) => {
    if (failed.status === 400) access = null; // there is no session, or no more
    throw failed;
  }).finally(() => { refreshing = null; });
  return refreshing;
}

async function logOut() {
  await call('POST', '/v1/auth/logout', { credentials: 'include' }); // with it, or the browser would keep the cookie
  access = null;
}

// call sends a request with the access token. One that has expired is renewed, and the same request sent once more.
async function call(method, path, options = {}) {
  if (!access) await refresh();
  const token = access;
  const withToken = () => ({ ...options, headers: { ...options.headers, Authorization: `Bearer ${access}` } });
  try {
    return await send(method, path, withToken());
  } catch (refused) {
    if (refused.code !== 'unauthenticated') throw refused;
    if (access === token) await refresh(); // unless another call has done so
    return send(method, path, withToken());
  }
}

// only with transactions:
// Paying.

const openAccount = () => call('POST', '/v1/accounts', json({ currency: 'EUR' }));

// pay sends a payment until its outcome is known. The key makes all of these requests one payment, so it stays the same over retries, also
// when the person presses the button again after a failure; another payment has another key.
let unsettled = null;
async function pay(from, to, amount) {
  const body = JSON.stringify({ postings: [{ from, to, amount, currency: 'EUR' }] });
  if (unsettled?.body !== body) unsettled = { body, key: crypto.randomUUID() };
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': unsettled.key };
  for (let tries = 1; ; tries++) {
    try {
      const paid = await call('POST', '/v1/transactions', { body, headers });
      unsettled = null;
      return paid;
    } catch (failed) {
      const unknown = !(failed instanceof Refused) || failed.status >= 500 || failed.status === 429 || failed.code === 'idempotency-key-in-use';
      if (!unknown) unsettled = null;
      if (!unknown || tries === 3) throw failed;
      await new Promise((done) => setTimeout(done, 500 * tries));
    }
  }
}

const cents = (text) => Math.round(Number(text) * 100);
const euros = (amount) => new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' }).format(amount / 100);
// end transactions

// The page.

const find = (id) => document.getElementById(id);
const say = (text) => { document.querySelector('[role=status]').textContent = text; };
const list = (id, lines) => find(id).replaceChildren(...lines.map((line) => Object.assign(document.createElement('li'), { textContent: line })));

const show = () => {
  find('out').hidden = access !== null;
  find('in').hidden = access === null;
};

// draw shows what belongs to somebody who is signed in, or to nobody.
async function draw() {
  show();
  if (access === null) return;
  // only with users:
  find('me').textContent = await call('GET', '/v1/users/me').then((me) => me.email, () => 'new here'); // a job makes the profile, a moment later
  // end users
  // only with transactions:
  if (access === null) return; // logged out meanwhile: another call would ask for a token again
  const accounts = await call('GET', '/v1/accounts');
  list('accounts', accounts.data.map((account) => `${account.id}  ${euros(account.balance.available)}`));
  // end transactions
}

// on does something when a form is sent, says how it went, and draws what there is now. While it works, the form is busy.
function on(id, act) {
  find(id).addEventListener('submit', async (event) => {
    event.preventDefault();
    const form = event.target;
    form.ariaBusy = 'true';
    try {
      say(await act(Object.fromEntries(new FormData(form))));
      form.reset();
    } catch (failed) {
      say(failed.message);
    }
    await draw().catch((failed) => { show(); say(failed.message); });
    form.ariaBusy = 'false';
  });
}

on('sign-up', async ({ email, password }) => { await signUp(email, password); return 'A mail is on its way.'; });
on('confirm', async ({ token }) => { await confirmAddress(token); return 'Confirmed. Now log in.'; });
on('log-in', async ({ email, password }) => { await logIn(email, password); return 'Welcome.'; });
on('log-out', async () => { await logOut(); return 'Goodbye.'; });
// only with transactions:
on('open', async () => `Opened ${(await openAccount()).id}.`);
on('pay', async ({ from, to, amount }) => { await pay(from, to, cents(amount)); return 'Paid.'; });
on('read', async ({ id }) => {
  const entries = await call('GET', `/v1/accounts/${encodeURIComponent(id)}/entries`);
  list('statement', entries.data.map((entry) => `${euros(entry.amount)}, then ${euros(entry.balance_after)}`));
  return 'Read.';
});
// end transactions

// A page that is loaded again has no access token; the cookie, where there is one, brings the next. Whoever has none is told nothing.
refresh().catch((failed) => { if (!(failed instanceof Refused)) say(failed.message); }).finally(draw);
