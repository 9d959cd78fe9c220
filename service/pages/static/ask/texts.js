/** From what is typed or opened to texts: lines, CSV, and CSV again for what is downloaded. */

const FORMULA = /^[=+\-@\t\r]/;

/** Return the lines that are not empty. */
export function splitLines(content) {
  return content.split(/\r\n|\n|\r/).filter((line) => line.trim());
}

/** Return the rows of a CSV or TSV file, each a list of cells; quotes as RFC 4180 has them. */
export function parseTable(content) {
  const separator = chooseSeparator(content);
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let place = 0; place < content.length; place += 1) {
    const character = content[place];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (content[place + 1] === '"') {
        cell += '"';
        place += 1;
      } else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === separator) {
      row.push(cell);
      cell = "";
    } else if (character === "\n" || character === "\r") {
      if (character === "\r" && content[place + 1] === "\n") place += 1;
      rows.push([...row, cell]);
      row = [];
      cell = "";
    } else cell += character;
  }
  if (cell || row.length > 0) rows.push([...row, cell]);
  return rows.filter((cells) => cells.some((found) => found.trim()));
}

function chooseSeparator(content) {
  const line = content.split(/\r\n|\n|\r/, 1)[0];
  const count = (separator) => line.split(separator).length;
  return [",", "\t", ";"].reduce((best, other) => (count(other) > count(best) ? other : best));
}

/** Return rows as CSV that a spreadsheet opens without taking a text for a formula. */
export function writeTable(rows) {
  return rows.map((cells) => cells.map(writeCell).join(",")).join("\r\n") + "\r\n";
}

function writeCell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") return String(value);
  const harmless = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
