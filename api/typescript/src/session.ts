// only with auth: this file

import type { paths } from "./auth-v1.js";
import { connect, data, ProblemError, type Client } from "./client.js";

export interface SessionOptions {
  /**
   * For a web app on the API's site: the refresh token is in a cookie that no script can read, and outlives the page. A new page asks
   * `refresh()` whether somebody is logged in. Without it both tokens are in memory, and gone with the page.
   */
  cookie?: boolean;
  /** In place of the platform's own. */
  fetch?: (request: Request) => Promise<Response>;
}

/**
 * Somebody who is logged in:
 *
 *     const session = new Session(baseUrl);
 *     await session.login(email, password);
 *     const api = connect({ baseUrl, token: session.token, refresh: session.refresh });
 */
export class Session {
  #access: string | undefined;
  #refresh: string | undefined;
  readonly #anyone: Client<paths>;
  readonly #me: Client<paths>;
  readonly #cookie: boolean;
  readonly #send: Pick<RequestInit, "credentials" | "keepalive">; // a browser keeps cookies, and sends them, only when it is told to

  constructor(baseUrl: string, options: SessionOptions = {}) {
    const common = options.fetch === undefined ? { baseUrl } : { baseUrl, fetch: options.fetch };
    this.#anyone = connect(common)<paths>();
    this.#me = connect({ ...common, token: this.token, refresh: () => this.refresh() })<paths>();
    this.#cookie = options.cookie ?? false;
    this.#send = this.#cookie ? { credentials: "include", keepalive: true } : {};
  }

  /** The access token; undefined for nobody. */
  readonly token = (): string | undefined => this.#access;

  /** `code` is asked when there is a second factor: for the six digits of the app, or a recovery code. */
  async login(email: string, password: string, code?: () => Promise<string>): Promise<void> {
    const place = { refresh_token_in: this.#cookie ? ("cookie" as const) : ("body" as const) };
    const answer = await data(this.#anyone.POST("/v1/auth/login", { body: { email, password, ...place }, ...this.#send }));
    if ("access_token" in answer) {
      this.#keep(answer);
      return;
    }
    if (code === undefined) {
      throw new Error("This account has a second factor: login wants to know how to ask for a code.");
    }
    const body = { mfa_token: answer.mfa_token, code: await code(), ...place };
    this.#keep(await data(this.#anyone.POST("/v1/auth/mfa/verify", { body, ...this.#send })));
  }

  /** Gets new tokens; false when nobody is logged in, or no more. */
  readonly refresh = async (): Promise<boolean> => {
    if (!this.#cookie && this.#refresh === undefined) {
      return false;
    }
    try {
      await oneTab(async () => {
        const body = this.#refresh === undefined ? { grant_type: "refresh_token" } : { grant_type: "refresh_token", refresh_token: this.#refresh };
        const form = { "Content-Type": "application/x-www-form-urlencoded" };
        this.#keep(await data(this.#anyone.POST("/v1/auth/token", { body, headers: form, ...this.#send })));
      });
      return true;
    } catch (error) {
      if (error instanceof ProblemError && error.status === 400) {
        this.#forget();
        return false;
      }
      throw error; // nothing is known of the session: the next request tries again
    }
  };

  /** Ends the session; here in any case. */
  async logout(): Promise<void> {
    try {
      if (this.#access !== undefined || (await this.refresh())) {
        await data(this.#me.POST("/v1/auth/logout", this.#send));
      }
    } finally {
      this.#forget();
    }
  }

  #keep(tokens: { access_token: string; refresh_token?: string }): void {
    this.#access = tokens.access_token;
    this.#refresh = tokens.refresh_token;
  }

  #forget(): void {
    this.#access = this.#refresh = undefined;
  }
}

/** oneTab lets the tabs of a browser refresh one after the other: they share the cookie. */
async function oneTab(work: () => Promise<void>): Promise<void> {
  const locks = (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
  await (locks === undefined ? work() : locks.request("refresh", work));
}
