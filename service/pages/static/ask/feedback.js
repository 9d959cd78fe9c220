/** Saying whether an answer is right, and what it should have been. */

import { ask } from "../shared/api.js";
import { withKey } from "../shared/key.js";
import { makeLabel } from "../shared/labels.js";
import { find, make, sayProblem } from "../shared/make.js";

/** Return the part of an answer that takes feedback on it. */
export function makeFeedback(answer, labels) {
  const choices = make("div", { class: "choices" });
  const wrong = labels.filter((label) => label !== answer.label);
  const give = (label) => sendFeedback(answer.prediction_id, label, choices);
  choices.append(
    make("button", { type: "button", onclick: () => give(answer.label) }, "✓ Yes"),
    make("span", { class: "soft" }, "No, it is"),
    ...wrong.map((label) => make("button", { type: "button", onclick: () => give(label) }, makeLabel(label))),
  );
  return make(
    "section",
    { class: "part", "aria-labelledby": "right" },
    make("h2", { id: "right" }, "Is this right?"),
    choices,
  );
}

async function sendFeedback(predictionId, label, choices) {
  const buttons = choices.querySelectorAll("button");
  buttons.forEach((button) => (button.disabled = true));
  try {
    await withKey(() => ask("feedback", { prediction_id: predictionId, label }));
    const thanks = `Thank you: it is kept as ${label}.`;
    choices.replaceChildren(make("p", { class: "done" }, thanks));
    find("said").textContent = thanks;
  } catch (problem) {
    buttons.forEach((button) => (button.disabled = false));
    choices.querySelector(".problem")?.remove();
    choices.append(make("p", { class: "problem", role: "alert" }, sayProblem(problem)));
  }
}
