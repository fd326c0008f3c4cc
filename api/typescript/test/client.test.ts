import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";

import { connect, data, every, idempotencyKey, ProblemError, type Options } from "../src/client.js";

// The client's own rules, against servers that play their part in them. No contract of ours is in here.

interface Thing {
  name: string;
}
interface paths {
  "/things": {
    get: { parameters: { query?: { cursor?: string } }; responses: { 200: { content: { "application/json": Thing } }; default: { content: { "application/problem+json": { code: string } } } } };
    post: { parameters: { header: { "Idempotency-Key"?: string } }; requestBody: { content: { "application/json": Thing } }; responses: { 201: { content: { "application/json": Thing } } } };
    patch: { parameters: {}; requestBody: { content: { "application/merge-patch+json": Thing } }; responses: { 204: { content?: never } } };
  };
}

interface Seen {
  method: string;
  token: string | undefined;
  key: string | undefined;
  type: string | undefined;
  body: string;
}
type Answer = (seen: Seen, n: number, response: ServerResponse, request: IncomingMessage) => void;

/** A server that answers as it is told, and notes what it has seen. */
async function server(answer: Answer): Promise<{ baseUrl: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const http = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const { authorization, "idempotency-key": key, "content-type": type } = request.headers;
      seen.push({ method: request.method ?? "", token: authorization, key: key as string | undefined, type, body });
      answer(seen.at(-1)!, seen.length, response, request);
    });
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  after(() => {
    http.closeAllConnections();
    http.close();
  });
  return { baseUrl: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, seen };
}

function reply(response: ServerResponse, status: number, body?: unknown, headers: Record<string, string> = {}): void {
  const type = status < 400 ? "application/json" : "application/problem+json";
  response.writeHead(status, body === undefined ? headers : { "Content-Type": type, ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

const problem = (status: number, code: string) => ({ type: `urn:problem:${code}`, title: "No", status, detail: "Not now.", code, request_id: "r-1" });

async function failed(answer: Promise<unknown>): Promise<ProblemError> {
  try {
    await answer;
  } catch (error) {
    assert.ok(error instanceof ProblemError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "it did not fail" });
}

const client = (options: Options) => connect(options)<paths>();

test("a problem is an error with its code", async () => {
  const { baseUrl } = await server((_, __, response) => reply(response, 422, { ...problem(422, "same-account"), errors: [{ pointer: "/a", code: "b", detail: "c" }] }));
  const error = await failed(data(client({ baseUrl }).GET("/things")));
  assert.deepEqual([error.status, error.code, error.requestId, error.message], [422, "same-account", "r-1", "Not now."]);
  assert.equal(error.problem?.errors?.[0]?.pointer, "/a");
});

test("what is no problem is an error all the same", async () => {
  for (const [status, body, code] of [[400, '{"error":"invalid_grant"}', "invalid_grant"], [502, "<html>", "status-502"], [500, "", "status-500"], [404, "null", "status-404"]] as const) {
    const { baseUrl } = await server((_, __, response) => response.writeHead(status, { "X-Request-Id": "r-2" }).end(body));
    const error = await failed(data(client({ baseUrl, tries: 1 }).GET("/things")));
    assert.deepEqual([error.code, error.requestId, error.problem], [code, "r-2", undefined]);
  }
});

test("a token that is over is refreshed once, however many requests are refused at the same time", async () => {
  let token = "old";
  let refreshed = 0;
  const { baseUrl, seen } = await server(({ token }, _, response) =>
    token === "Bearer new" ? reply(response, 200, { name: "a" }) : reply(response, 401, problem(401, "unauthenticated")),
  );
  const things = client({
    baseUrl,
    token: () => token,
    refresh: async () => {
      refreshed++;
      await new Promise((resolve) => setTimeout(resolve, 20));
      token = "new";
      return true;
    },
  });
  const names = await Promise.all([1, 2, 3, 4].map(async () => (await data(things.GET("/things"))).name));
  assert.deepEqual(names, ["a", "a", "a", "a"]);
  assert.equal(refreshed, 1);
  assert.equal(seen.filter(({ token }) => token === "Bearer new").length, 4);
});

test("a body is sent again after the refresh", async () => {
  let token = "old";
  const { baseUrl, seen } = await server(({ token }, _, response) =>
    token === "Bearer new" ? reply(response, 201, { name: "a" }) : reply(response, 401, problem(401, "unauthenticated")),
  );
  const refresh = async () => ((token = "new"), true);
  await data(client({ baseUrl, token: () => token, refresh }).POST("/things", { params: { header: {} }, body: { name: "a" } }));
  assert.deepEqual(seen.map(({ token, body }) => [token, body]), [["Bearer old", '{"name":"a"}'], ["Bearer new", '{"name":"a"}']]);
});

test("a session that is over, and a 401 that says something else, are answers", async () => {
  for (const code of ["unauthenticated", "step-up-required"]) {
    let refreshed = 0;
    const { baseUrl, seen } = await server((_, __, response) => reply(response, 401, problem(401, code)));
    const refresh = async () => (refreshed++, false);
    assert.equal((await failed(data(client({ baseUrl, token: () => "old", refresh }).GET("/things")))).code, code);
    assert.deepEqual([refreshed, seen.length], [code === "unauthenticated" ? 1 : 0, 1]);
  }
});

test("a payment is tried again under its key: after a lost answer, and while the first try is at work", async () => {
  const { baseUrl, seen } = await server((_, n, response, request) => {
    if (n === 1) request.socket.destroy();
    else if (n === 2) reply(response, 409, problem(409, "idempotency-key-in-use"), { "Retry-After": "0" });
    else reply(response, 201, { name: "paid" });
  });
  const key = idempotencyKey();
  const paid = await data(client({ baseUrl }).POST("/things", { params: { header: { "Idempotency-Key": key } }, body: { name: "a" } }));
  assert.equal(paid.name, "paid");
  assert.deepEqual(seen.map(({ key, body }) => [key, body]), Array(3).fill([key, '{"name":"a"}']));
  assert.notEqual(idempotencyKey(), key);
});

test("what would do harm twice is sent once", async () => {
  const { baseUrl, seen } = await server((_, __, response) => reply(response, 503, problem(503, "overloaded"), { "Retry-After": "0" }));
  assert.equal((await failed(data(client({ baseUrl }).POST("/things", { params: { header: {} }, body: { name: "a" } })))).code, "overloaded");
  assert.equal((await failed(data(client({ baseUrl }).PATCH("/things", { body: { name: "a" } })))).code, "overloaded");
  assert.deepEqual(seen.map(({ method }) => method), ["POST", "PATCH"]);
});

test("nobody is asked for ever, nor waited for too long", async () => {
  for (const [after, times] of [["0", 3], ["3600", 1]] as const) {
    const { baseUrl, seen } = await server((_, __, response) => reply(response, 429, problem(429, "rate-limited"), { "Retry-After": after }));
    assert.equal((await failed(data(client({ baseUrl }).GET("/things")))).code, "rate-limited");
    assert.equal(seen.length, times);
  }
});

test("a request that is called off ends at once", async () => {
  const stop = new AbortController();
  const { baseUrl, seen } = await server((_, __, response) => {
    reply(response, 503, problem(503, "overloaded"), { "Retry-After": "9" });
    setTimeout(() => stop.abort(), 50);
  });
  await assert.rejects(data(client({ baseUrl }).GET("/things", { signal: stop.signal })), { name: "AbortError" });
  assert.equal(seen.length, 1);
});

test("a change is a merge patch, and no content is undefined", async () => {
  const { baseUrl, seen } = await server((_, __, response) => reply(response, 204));
  assert.equal(await data(client({ baseUrl }).PATCH("/things", { body: { name: "a" } })), undefined);
  assert.equal(seen[0]?.type, "application/merge-patch+json");
});

test("an operation that goes away is told of", async () => {
  const { baseUrl } = await server((_, __, response) => reply(response, 200, { name: "a" }, { Deprecation: "@1767225600", Sunset: "Thu, 01 Jan 2027 00:00:00 GMT" }));
  const told: string[] = [];
  await data(client({ baseUrl, deprecated: (request, response) => told.push(`${new URL(request.url).pathname} ${response.headers.get("Sunset")}`) }).GET("/things"));
  assert.deepEqual(told, ["/things Thu, 01 Jan 2027 00:00:00 GMT"]);
});

test("every item of a list comes, page by page", async () => {
  const pages: Record<string, { data: number[]; page: { has_more: boolean; next_cursor?: string } }> = {
    "": { data: [1, 2], page: { has_more: true, next_cursor: "b" } },
    b: { data: [3], page: { has_more: false } },
  };
  const items = [];
  for await (const item of every((cursor) => Promise.resolve(pages[cursor ?? ""]!))) items.push(item);
  assert.deepEqual(items, [1, 2, 3]);
});
