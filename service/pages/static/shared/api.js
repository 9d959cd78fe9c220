/** Asks the service, with the key of this tab where there is one. */

const KEY = "sentigate.key";
const TOKEN = "#token=";

/** What the service said instead of an answer: a code, a sentence, the limit where one was passed. */
export class Problem extends Error {
  constructor(status, { code, message, limit }, retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.limit = limit;
    this.retryAfter = retryAfter;
  }

  /** Whether another key would help. */
  get wantsKey() {
    return this.status === 401 || this.code === "scope";
  }
}

/** Return what a path answers to a body, or to none. Throws Problem. */
export async function ask(path, body, { signal } = {}) {
  const key = readKey();
  const response = await reach(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const unread = { code: "unread", message: `the answer could not be read (status ${response.status}); ask again.` };
  throw new Problem(response.status, answer?.code ? answer : unread, Number(response.headers.get("retry-after")));
}

async function reach(path, options) {
  try {
    return await fetch(path, { ...options, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { code: "unreachable", message: "the service cannot be reached; is it running?" });
  }
}

const kept = new Map();

/** Return where keys are kept: the storage of this tab or, in a frame whose browser denies it, this page. */
function openStore() {
  try {
    const storage = sessionStorage;
    return {
      get: (name) => storage.getItem(name),
      set: (name, value) => storage.setItem(name, value),
      delete: (name) => storage.removeItem(name),
    };
  } catch {
    return kept;
  }
}

/** Return the key of this tab, or nothing. */
export function readKey() {
  return openStore().get(KEY) ?? "";
}

/** Keep a key for this tab, until it is closed. */
export function keepKey(key) {
  if (key) openStore().set(KEY, key);
  else openStore().delete(KEY);
}

// The address that the service shows when it starts carries its token, which goes no further than this tab.
if (location.hash.startsWith(TOKEN)) {
  keepKey(decodeURIComponent(location.hash.slice(TOKEN.length)));
  history.replaceState(null, "", location.pathname);
}
