/** The dashboard: reads everything when it opens, when another time is chosen, and every 15 s while it is seen. */

import { ask } from "../shared/api.js";
import { withKey } from "../shared/key.js";
import { find, showProblem } from "../shared/make.js";
import { showActivity } from "./activity.js";
import { showEvaluations } from "./evaluations.js";
import { showAgreement, showFeedback } from "./feedback.js";
import { listenToSearch, offerChoices, refreshHistory } from "./history.js";
import { showLatencies } from "./latencies.js";
import { showModel } from "./model.js";
import { showTiles } from "./tiles.js";

const SECONDS_BETWEEN = 15;
const SECTIONS = {
  model: { path: "model", show: showModel },
  health: { path: "health" },
  activity: { path: "dashboard/activity", section: "predictions", timed: true, show: showActivity },
  latencies: { path: "dashboard/latencies", timed: true, show: showLatencies },
  feedback: { path: "dashboard/feedback", timed: true, show: showFeedback },
  agreement: { path: "dashboard/agreement", timed: true, show: showAgreement },
  evaluations: { path: "dashboard/evaluations" },
};
const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });
let turn = 0;

function readHours() {
  return Number(new FormData(find("window")).get("hours"));
}

async function refresh() {
  const mine = (turn += 1);
  const hours = readHours();
  const answers = {};
  const problems = [];
  const read = Object.entries(SECTIONS).map(async ([name, { path, section, timed, show }]) => {
    const shown = find(section ?? name).querySelector(".problem");
    try {
      const answer = await withKey(() => ask(timed ? `${path}?hours=${hours}` : path));
      if (mine !== turn) return;
      answers[name] = answer;
      if (shown) showProblem(shown, null);
      show?.(answer, hours);
    } catch (problem) {
      if (mine !== turn) return;
      if (isGeneral(problem)) problems.push(problem);
      else if (shown) showProblem(shown, problem);
    }
  });
  await Promise.all([...read, refreshHistory()]);
  if (mine === turn) conclude(answers, problems, hours);
}

/** Show what is made of several answers. */
function conclude(answers, problems, hours) {
  const { activity, evaluations, model } = answers;
  showProblem(find("problem"), problems[0]);
  showTiles(answers, hours);
  if (evaluations) showEvaluations(evaluations, activity, model?.version);
  const answered = (activity?.rows ?? []).map((row) => row.model_version);
  const versions = new Set([...(model ? [model.version] : []), ...answered]);
  offerChoices(model?.labels ?? [], versions);
  if (problems.length === 0) {
    find("updated").textContent = `As of ${clock.format(new Date())}; read again every ${SECONDS_BETWEEN} seconds.`;
  }
}

/** Return whether a problem is of the whole page, and not of one section. */
function isGeneral({ status }) {
  return status === undefined || status === 0 || status === 403 || status === 429;
}

function listen() {
  find("window").addEventListener("change", () => {
    history.replaceState(null, "", `#${readHours()}`);
    refresh();
  });
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  setInterval(() => document.hidden || find("key").hasChildNodes() || refresh(), 1000 * SECONDS_BETWEEN);
}

const chosen = find("window").querySelector(`[value="${Number(location.hash.slice(1))}"]`);
if (chosen) chosen.checked = true;
listenToSearch();
listen();
refresh();
