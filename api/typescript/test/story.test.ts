// only with auth: this file

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import type { paths, Problem as Declared } from "../src/auth-v1.js";
import { connect, data, type Problem } from "../src/client.js";
import { Session } from "../src/session.js";
import { refused } from "./refused.js";
// only with transactions:
import { payments } from "./transactions.js";
// end transactions
// only with users:
import { profiles } from "./users.js";
// end users

// The main story, told through the typed clients to the server at BASE_URL.

const baseUrl = process.env["BASE_URL"] ?? "";
const nobody = connect({ baseUrl })<paths>();
const run = Date.now().toString(36); // another run, other people

/** Registers somebody, reads the mail in the server's own mailbox, confirms and logs in. */
async function join(name: string): Promise<Session> {
  const email = `${name}-${run}@example.com`;
  const password = `the long password of ${name}`;
  await data(nobody.POST("/v1/auth/register", { body: { email, password } }));
  await data(nobody.POST("/v1/auth/email/verify", { body: { token: await mailed(email) } }));
  const session = new Session(baseUrl);
  await session.login(email, password);
  return session;
}

async function mailed(to: string): Promise<string> {
  for (let n = 0; n < 200; n++) {
    const response = await fetch(`${baseUrl}/dev/mail.json?to=${encodeURIComponent(to)}`);
    const mails = (await response.json()) as { token?: string }[];
    if (mails[0]?.token !== undefined) {
      return mails[0].token;
    }
    await sleep(50);
  }
  throw new Error(`no mail came to ${to}`);
}

const api = (session: Session) => connect({ baseUrl, token: session.token, refresh: session.refresh });

test("the main story", async (t) => {
  assert.notEqual(baseUrl, "", "BASE_URL says where the server is");
  const [alice, bob, operator] = [await join("alice"), await join("bob"), new Session(baseUrl)];
  assert.notEqual(alice.token(), bob.token());
  await operator.login(process.env["OPERATOR_EMAIL"] ?? "", process.env["OPERATOR_PASSWORD"] ?? "");

  await t.test("the problem of the client is the one of the contract", () => {
    const declared: Declared = { type: "", title: "", status: 400, code: "", request_id: "" };
    const ours: Problem = declared;
    const back: Declared = ours;
    assert.equal(back, declared);
  });
  await t.test("a wrong password is refused, and what is wrong with a new one is said", async () => {
    const email = `alice-${run}@example.com`;
    await refused(401, "invalid-credentials", new Session(baseUrl).login(email, "a wrong password of hers"));
    const error = await refused(422, "validation-failed", data(nobody.POST("/v1/auth/register", { body: { email, password: "short" } })));
    assert.deepEqual(error.problem?.errors?.map(({ pointer, code }) => [pointer, code]), [["/password", "minLength"]]);
  });
  // only with users:
  await t.test("everybody has a profile, and changes one's own", () => profiles(api(alice)));
  // end users
  // only with transactions:
  await t.test("money comes in and is spent once", () => payments(api(alice), api(bob), api(operator), run));
  // end transactions
  await t.test("a token is refreshed, and a session ends", async () => {
    const before = alice.token();
    assert.equal(await alice.refresh(), true);
    assert.notEqual(alice.token(), before);
    await alice.logout();
    assert.deepEqual([alice.token(), await alice.refresh()], [undefined, false]);
  });
  await t.test("a request whose token is over gets through", async () => {
    await alice.login(`alice-${run}@example.com`, "the long password of alice");
    let token = "no token";
    const refresh = async () => ((token = alice.token() ?? ""), true);
    const answer = await connect({ baseUrl, token: () => token, refresh })<paths>().POST("/v1/auth/logout");
    assert.equal(answer.response.status, 204);
  });
  await t.test("a cookie outlives the page", async () => {
    const fetch = browser();
    const page = new Session(baseUrl, { cookie: true, fetch });
    assert.equal(await page.refresh(), false);
    await page.login(`bob-${run}@example.com`, "the long password of bob");
    const reloaded = new Session(baseUrl, { cookie: true, fetch });
    assert.equal(await reloaded.refresh(), true);
    await reloaded.logout();
    assert.equal(await new Session(baseUrl, { cookie: true, fetch }).refresh(), false);
  });
});

/** What a browser does: it keeps the one cookie, and sends it, when a request says so. */
function browser(): (request: Request) => Promise<Response> {
  let cookie = "";
  return async (request) => {
    if (request.credentials === "include" && cookie !== "") {
      request.headers.set("Cookie", cookie);
    }
    const response = await fetch(request);
    const [set] = response.headers.getSetCookie();
    if (request.credentials === "include" && set !== undefined) {
      cookie = set.includes("Max-Age=0") ? "" : (set.split(";")[0] ?? "");
    }
    return response;
  };
}
