import assert from "node:assert/strict";

import { ProblemError } from "../src/client.js";

/** The problem that a request is refused with, which has to have this status and code. */
export async function refused(status: number, code: string, answer: Promise<unknown>): Promise<ProblemError> {
  const error = await answer.then(() => undefined, (reason: unknown) => reason);
  assert.ok(error instanceof ProblemError, `not refused: ${String(error)}`);
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.notEqual(error.requestId, "");
  return error;
}
