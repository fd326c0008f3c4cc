// only with auth, users: this file

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { type Client, type connect, data, ProblemError } from "../src/client.js";
import type { paths, User } from "../src/users-v1.js";
import { refused } from "./refused.js";

/** The chapter of users. */
export async function profiles(alice: ReturnType<typeof connect>): Promise<void> {
  const users = alice<paths>();
  const { body, tag } = await profile(users);
  assert.equal(body.name, null);

  const change = (etag: string, name: string | null) =>
    users.PATCH("/v1/users/me", { params: { header: { "If-Match": etag } }, body: { name } });
  const changed = await data(change(tag, "Alice"));
  assert.equal(changed.name, "Alice");
  await refused(412, "precondition-failed", data(change(tag, null)));

  // @ts-expect-error A change has to say what it is based on.
  await refused(428, "precondition-required", data(users.PATCH("/v1/users/me", { body: { name: "Eve" } })));
  // @ts-expect-error A name is a text.
  await refused(422, "validation-failed", data(change(tag, 7)));

  const again = await profile(users);
  assert.notEqual(again.tag, tag);
  const same = await users.GET("/v1/users/me", { params: { header: { "If-None-Match": again.tag } } });
  assert.equal(same.response.status, 304);
}

/** One's profile and its version. A job makes it, a moment after the account. */
async function profile(users: Client<paths>): Promise<{ body: User; tag: string }> {
  for (let n = 0; ; n++) {
    const answer = users.GET("/v1/users/me");
    try {
      const body = await data(answer);
      return { body, tag: (await answer).response.headers.get("ETag") ?? "" };
    } catch (error) {
      if (n > 200 || !(error instanceof ProblemError) || error.status !== 404) {
        throw error;
      }
    }
    await sleep(50);
  }
}
