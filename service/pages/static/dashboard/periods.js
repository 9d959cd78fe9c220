/** Rows that were counted per period, put side by side on one line of time. */

const HOUR = 3_600_000;
const PERIODS = { 1: HOUR / 60, 24: HOUR, 168: 6 * HOUR, 2160: 24 * HOUR };

/** Return what an answer is about, from when on, the start of each period in it, and its length in milliseconds. */
export function layOut({ since, until, rows }, hours) {
  const counted = 1000 * (rows[0]?.period_seconds ?? 60);
  const period = Math.max(counted, Math.ceil(PERIODS[hours] / counted) * counted);
  const span = { since: Math.floor(Date.parse(since) / period) * period, hours };
  const times = [];
  for (let time = span.since; time <= Date.parse(until); time += period) times.push(time);
  return { span, times, period };
}

/** Return, for each period, what `reduce` makes of the rows that start in it, or of none. */
export function collect(rows, { times, period }, reduce) {
  const groups = new Map();
  for (const row of rows) {
    const start = Math.floor(Date.parse(row.start) / period) * period;
    if (!groups.has(start)) groups.set(start, []);
    groups.get(start).push(row);
  }
  return times.map((time) => reduce(groups.get(time) ?? []));
}

/** Return the sum of what `read` says of each row. */
export function sum(rows, read) {
  return rows.reduce((total, row) => total + read(row), 0);
}

/** Return the time that is shown, in words. */
export function sayWindow(hours) {
  return { 1: "hour", 24: "24 hours", 168: "7 days", 2160: "90 days" }[hours];
}
