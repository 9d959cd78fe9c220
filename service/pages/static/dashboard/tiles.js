/** The row at the top: the health in words, and the numbers that matter most. */

import { sayCount, sayMany, sayMilliseconds, sayShare } from "../shared/format.js";
import { find, make } from "../shared/make.js";
import { sumUp } from "./activity.js";
import { countRight } from "./feedback.js";
import { sayWindow } from "./periods.js";

/** Show what was read; what could not be read is left out. */
export function showTiles({ health, activity, latencies, feedback }, hours) {
  const tiles = [
    makeHealth(health),
    health?.canary?.status === "on" && makeCanary(health.canary),
    activity && makeActivity(activity, hours),
    activity && makeDoubts(activity),
    latencies && makeLatency(latencies),
    feedback && makeFeedback(feedback),
  ];
  find("health").querySelector(".content").replaceChildren(make("dl", {}, tiles));
}

function makeTile(name, value, said, look = "") {
  const lines = [make("dd", { class: `value ${look}` }, value), make("dd", { class: "soft small" }, said)];
  return make("div", { class: "tile" }, make("dt", {}, name), lines);
}

function makeHealth(health) {
  if (!health) return makeTile("Health", "Unknown", "The service did not say.", "ill");
  const reasons = listTroubles(health.prediction_log);
  if (health.status === "ok" && reasons.length === 0) {
    const kept = health.prediction_log === "off" ? "Answers are not kept: the log is off." : "Every answer is kept.";
    return makeTile("Health", "✓ All well", kept, "well");
  }
  return makeTile("Health", "✗ Degraded", reasons.join(" ") || "See GET /health.", "ill");
}

function makeCanary({ model_version, share, seconds_left }) {
  const minutes = sayMany(Math.ceil(seconds_left / 60), "minute");
  return makeTile("Canary", sayShare(share), `of the requests go to ${model_version}, for ${minutes} at most`);
}

function listTroubles(log) {
  if (log === "off") return [];
  const waiting = `the oldest waits for ${sayMilliseconds(1000 * log.lag_seconds)}`;
  return [
    !log.takes_entries && "New answers cannot be kept; is the disk full?",
    log.database === "unreachable" && `The database is away; answers wait on disk, ${waiting}.`,
    log.database !== "unreachable" && log.lag_seconds > 10 && `Answers reach the database late: ${waiting}.`,
    log.rejected > 0 && `${sayMany(log.rejected, "row")} put aside in rejected-*.jsonl.`,
  ].filter(Boolean);
}

function makeActivity(activity, hours) {
  const { total } = sumUp(activity);
  return makeTile("Texts answered", sayCount(total), `in the last ${sayWindow(hours)}`);
}

function makeDoubts(activity) {
  const { total, uncertain, confidence } = sumUp(activity);
  if (total === 0) return makeTile("Uncertain", "–", "nothing was answered");
  return makeTile("Uncertain", sayShare(uncertain), `mean confidence ${sayShare(confidence)}`);
}

function makeLatency({ rows }) {
  const latest = rows.at(-1);
  if (!latest) return makeTile("Latency, p95", "–", "nothing was answered");
  const period = { 60: "minute", 3600: "hour" }[latest.period_seconds] ?? "hours";
  return makeTile("Latency, p95", sayMilliseconds(latest.p95_ms), `in the latest ${period}`);
}

function makeFeedback({ rows }) {
  const { right, total } = countRight(rows);
  if (total === 0) return makeTile("Right, as callers say", "–", "no feedback yet");
  return makeTile("Right, as callers say", sayShare(right / total), `of ${sayMany(total, "answer")} they judged`);
}
