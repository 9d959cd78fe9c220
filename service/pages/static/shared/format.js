/** How numbers and times are written. */

const whole = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const day = { month: "short", day: "numeric" };
const minute = new Intl.DateTimeFormat("en", { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const sayCount = (count) => whole.format(count);
export const sayShare = (share) => percent.format(share);
export const sayMoment = (time) => moment.format(new Date(time));
export const sayMinute = (time) => minute.format(new Date(time));

/** Return "1 text" or "3 texts". */
export function sayMany(count, noun) {
  return `${sayCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Return how sure an answer is, without a 100% that it is not. */
export function sayConfidence(confidence) {
  return confidence >= 0.995 ? ">99%" : `${Math.round(100 * confidence)}%`;
}

/** Return what a word adds, in points of percent, with its sign. */
export function sayWeight(weight) {
  const points = Math.abs(100 * weight);
  const rounded = points >= 9.95 ? Math.round(points) : points.toFixed(1);
  return `${weight < 0 ? "−" : "+"}${rounded}`;
}

/** Return milliseconds as such, or as seconds where there are many. */
export function sayMilliseconds(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds > 0 && milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}
