/** Asks for an API key where the service wants one, and goes on with what wanted it. */

import { Problem, keepKey, readKey } from "./api.js";
import { find, make, sayProblem } from "./make.js";

let asked = null;

/** Return what an action returns; where it needs another key, it is done again with the key that is given. */
export async function withKey(action) {
  for (;;) {
    try {
      const answer = await action();
      showForget();
      return answer;
    } catch (problem) {
      if (!(problem instanceof Problem && problem.wantsKey)) throw problem;
      asked ??= askForKey(problem).finally(() => (asked = null));
      await asked;
    }
  }
}

function askForKey(problem) {
  return new Promise((resolve) => {
    const input = make("input", { type: "password", id: "api-key", autocomplete: "off", required: true });
    const given = (event) => {
      event.preventDefault();
      keepKey(input.value.trim());
      find("key").replaceChildren();
      resolve();
    };
    const form = make(
      "form",
      { class: "card key", onsubmit: given },
      make("p", { role: "alert" }, sayProblem(problem)),
      make("label", {}, problem.code === "token_wanted" ? "Token" : "API key", input),
      make("button", { class: "primary" }, "Use this key"),
      make("p", { class: "soft small" }, "It stays in this tab and is forgotten when the tab is closed."),
    );
    find("key").replaceChildren(form);
    input.focus();
  });
}

function showForget() {
  const button = find("forget-key");
  button.hidden = !readKey();
  button.onclick = () => {
    keepKey("");
    location.reload();
  };
}
