// only with auth, transactions: this file

import assert from "node:assert/strict";

import { type connect, data, every } from "../src/client.js";
import type { Account, Entry, NewAccount, paths } from "../src/transactions-v1.js";
import { refused } from "./refused.js";

type Person = ReturnType<typeof connect>;

/** The chapter of transactions. run makes this run's keys different from another's. */
export async function payments(alice: Person, bob: Person, operator: Person, run: string): Promise<void> {
  const outside = await open(operator, { currency: "EUR", kind: "external" });
  const [hers, his] = [await open(alice, { currency: "EUR", name: "Everyday" }), await open(bob, { currency: "EUR" })];
  await refused(403, "insufficient-scope", open(alice, { currency: "EUR", kind: "external" }));
  await data(pay(operator, `in-${run}`, outside, hers, 10_000));

  // Her answer got lost: the same again is one payment, and the same answer.
  const first = await data(pay(alice, `rent-${run}`, hers, his, 2_500));
  const again = pay(alice, `rent-${run}`, hers, his, 2_500);
  assert.deepEqual(await data(again), first);
  assert.equal((await again).response.headers.get("Idempotent-Replayed"), "true");
  await refused(422, "idempotency-key-reused", data(pay(alice, `rent-${run}`, hers, his, 2_501)));
  const error = await refused(422, "insufficient-funds", data(pay(alice, `yacht-${run}`, hers, his, 7_501)));
  assert.equal(error.problem?.instance, "/v1/transactions");
  await refused(404, "not-found", data(pay(bob, `theft-${run}`, hers, his, 1)));

  await data(pay(alice, `coffee-${run}`, hers, his, 300));
  const entries: Entry[] = [];
  for await (const entry of every((cursor) => statement(alice, hers, cursor))) {
    entries.push(entry);
  }
  assert.deepEqual(entries.map(({ amount, balance_after }) => [amount, balance_after]), [[-300, 7_200], [-2_500, 7_500], [10_000, 10_000]]);
  await refused(400, "invalid-cursor", statement(alice, hers, "no cursor of ours"));

  // A payment has a key, which only a dry run goes without: so a type cannot ask for it.
  const unsent = { body: { postings: [posting(his, hers, 1)] } };
  await refused(400, "idempotency-key-missing", data(bob<paths>().POST("/v1/transactions", unsent)));
  await data(bob<paths>().POST("/v1/transactions", { ...unsent, params: { query: { dry_run: true } } }));
  // @ts-expect-error A hold has a key.
  await refused(400, "idempotency-key-missing", data(bob<paths>().POST("/v1/holds", {
    body: { account_id: his.id, destination_account_id: hers.id, amount: 1, currency: "EUR", expires_in: 60 },
  })));
  // @ts-expect-error An amount is a number of cents, and no text.
  await refused(422, "validation-failed", data(pay(bob, `text-${run}`, his, hers, "1")));
}

function open(person: Person, body: NewAccount): Promise<Account> {
  return data(person<paths>().POST("/v1/accounts", { body }));
}

const posting = (from: Account, to: Account, amount: number) => ({ from: from.id, to: to.id, amount, currency: "EUR" });

function pay(person: Person, key: string, from: Account, to: Account, amount: number) {
  return person<paths>().POST("/v1/transactions", {
    params: { header: { "Idempotency-Key": key } },
    body: { postings: [posting(from, to, amount)] },
  });
}

/** A page of a statement, two entries long. */
function statement(person: Person, account: Account, cursor?: string) {
  const query = cursor === undefined ? { limit: 2 } : { limit: 2, cursor };
  return data(person<paths>().GET("/v1/accounts/{id}/entries", { params: { path: { id: account.id }, query } }));
}
