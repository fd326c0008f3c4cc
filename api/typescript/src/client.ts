// A client for a web front end, or any other program in TypeScript: copy this folder. It knows no module; the types of each are in the
// files beside it, which are made from the contracts.

import createClient, { type Client } from "openapi-fetch";

export type { Client };

/** What a server answers when something is wrong (RFC 9457). `code` is stable; the texts are for a person, and may change. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  instance?: string;
  code: string;
  request_id: string;
  errors?: { pointer: string; code: string; detail: string }[];
}

/** An answer that is not the one that was asked for. Decide by `code`. */
export class ProblemError extends Error {
  readonly status: number;
  readonly code: string;
  /** Names the request in the server's logs. */
  readonly requestId: string;
  /** The whole problem; absent where the answer was something else: OAuth's endpoints have words of their own, a proxy has none. */
  readonly problem?: Problem;

  constructor(response: Response, body: unknown) {
    const said = typeof body === "object" && body !== null ? (body as Partial<Problem> & { error?: string; error_description?: string }) : {};
    const code = said.code ?? said.error ?? `status-${response.status}`;
    super(said.detail ?? said.error_description ?? said.title ?? code);
    this.name = "ProblemError";
    this.status = response.status;
    this.code = code;
    this.requestId = said.request_id ?? response.headers.get("X-Request-Id") ?? "";
    if (said.code !== undefined) {
      this.problem = said as Problem;
    }
  }
}

/** The data of a good answer; for any other it throws a ProblemError. */
export async function data<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await answer;
  if (!response.ok) {
    throw new ProblemError(response, error);
  }
  return data as T; // undefined where the contract promises no content
}

/** Every item of a list, page by page: `for await (const entry of every((cursor) => data(api.GET(…))))`. */
export async function* every<T>(
  page: (cursor?: string) => Promise<{ data: T[]; page: { has_more: boolean; next_cursor?: string } }>,
): AsyncGenerator<T, void, void> {
  let cursor: string | undefined;
  do {
    const got = await page(cursor);
    yield* got.data;
    cursor = got.page.has_more ? got.page.next_cursor : undefined;
  } while (cursor !== undefined);
}

/** A new Idempotency-Key. Make it when a person decides to pay, and keep it for every try of that one payment. */
export function idempotencyKey(): string {
  return crypto.randomUUID();
}

export interface Options {
  /** Where the API is: https://api.example.com */
  baseUrl: string;
  /** The access token of this moment; undefined for nobody. */
  token?: () => string | undefined;
  /** Gets the next access token, which `token` returns from then on; false when the session is over. */
  refresh?: () => Promise<boolean>;
  /** How often a request is sent that may be sent again. 3 when absent. */
  tries?: number;
  /** Is told of an operation that will go away: its answers have Deprecation, and Sunset when the day is known. */
  deprecated?: (request: Request, response: Response) => void;
  /** In place of the platform's own. */
  fetch?: (request: Request) => Promise<Response>;
}

/**
 * Makes the clients of one caller. They share the token and its refresh:
 *
 *     const api = connect({ baseUrl, token, refresh });
 *     const users = api<users.paths>();
 *     const me = await data(users.GET("/v1/users/me"));
 */
export function connect(options: Options): <Paths extends {}>() => Client<Paths> {
  const send = sender(options);
  return <Paths extends {}>() => createClient<Paths>({ baseUrl: options.baseUrl, fetch: send });
}

function sender(options: Options): (request: Request) => Promise<Response> {
  const fetch = options.fetch ?? ((request) => globalThis.fetch(request));
  const authorized = authorizer(options, fetch);
  return async (request) => {
    if (request.method === "PATCH") {
      request.headers.set("Content-Type", "application/merge-patch+json"); // the house patches no other way
    }
    const response = await persistently(request, repeatable(request) ? (options.tries ?? 3) : 1, authorized);
    if (response.headers.has("Deprecation")) {
      options.deprecated?.(request, response);
    }
    return response;
  };
}

/** persistently sends a request until there is an answer that will not pass, each time with the same headers: so with the same Idempotency-Key. */
async function persistently(request: Request, tries: number, send: (request: Request) => Promise<Response>): Promise<Response> {
  for (let n = 1; ; n++) {
    let seconds = 0.1 * 2 ** n * (1 + Math.random()); // 0.2 s, 0.4 s …, by chance up to twice that
    try {
      const response = await send(request.clone());
      seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10) || seconds;
      if (n >= tries || seconds > patience || !(await passing(response))) {
        return response;
      }
    } catch (error) {
      if (n >= tries || request.signal.aborted) {
        throw error;
      }
    }
    await pause(seconds, request.signal);
  }
}

/** patience is how long, in seconds, a person would wait for an answer. */
const patience = 10;

/** authorizer sends a request with the token, and once more with the next one when the server refuses it. */
function authorizer(options: Options, fetch: (request: Request) => Promise<Response>): (request: Request) => Promise<Response> {
  let refreshing: Promise<boolean> | undefined;
  const next = (refused: string): Promise<boolean> => {
    if (options.token?.() !== refused) {
      return Promise.resolve(true); // another request was refused before, and got it
    }
    refreshing ??= (options.refresh?.() ?? Promise.resolve(false)).finally(() => {
      refreshing = undefined;
    });
    return refreshing;
  };
  const withToken = (request: Request): string | undefined => {
    const token = options.token?.();
    if (token !== undefined) {
      request.headers.set("Authorization", `Bearer ${token}`);
    }
    return token;
  };
  return async (request) => {
    if (request.headers.has("Authorization")) {
      return fetch(request);
    }
    const again = request.clone();
    const token = withToken(request);
    const response = await fetch(request);
    if (response.status !== 401 || token === undefined || (await codeOf(response)) !== "unauthenticated" || !(await next(token))) {
      return response;
    }
    withToken(again);
    return fetch(again);
  };
}

/** repeatable requests do no harm when they arrive twice. */
function repeatable(request: Request): boolean {
  return ["GET", "HEAD", "PUT", "DELETE"].includes(request.method) || request.headers.has("Idempotency-Key");
}

/** passing answers are about this moment, not about the request. */
async function passing(response: Response): Promise<boolean> {
  if (response.status === 409) {
    return (await codeOf(response)) === "idempotency-key-in-use"; // the first try is still at work
  }
  return [429, 502, 503, 504].includes(response.status);
}

async function codeOf(response: Response): Promise<unknown> {
  try {
    const body: unknown = await response.clone().json();
    return typeof body === "object" && body !== null && "code" in body ? body.code : undefined;
  } catch {
    return undefined;
  }
}

function pause(seconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}
