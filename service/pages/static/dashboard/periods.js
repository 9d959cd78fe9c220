/** Rows that were counted per period, put side by side on one line of time. */

/** Return `{ since, until, hours }` in milliseconds for an answer, and the start of each period in it. */
export function layOut({ since, until, rows }, hours) {
  const period = 1000 * (rows[0]?.period_seconds ?? 3600);
  const span = { since: Math.floor(Date.parse(since) / period) * period, until: Date.parse(until), hours };
  const times = [];
  for (let time = span.since; time <= span.until; time += period) times.push(time);
  return { span, times };
}

/** Return, for each of `times`, what `reduce` makes of the rows that start there, or of none. */
export function collect(rows, times, reduce) {
  const groups = new Map();
  for (const row of rows) {
    const start = Date.parse(row.start);
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
