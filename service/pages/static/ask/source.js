/** Files that are opened, dropped or pasted: which of their columns has the texts. */

import { sayMany } from "../shared/format.js";
import { find, make, showProblem } from "../shared/make.js";
import { parseTable, splitLines } from "./texts.js";

const MAX_BYTES = 20_000_000;
const NAMES = ["text", "texts", "comment", "review", "verified_reviews", "content", "message", "tweet", "sentence"];

/** Call `use` with `{ texts }` of each file that is given, and with null when it is taken away. */
export function takeFiles(use) {
  const open = (file) => openFile(file, use).catch((problem) => showProblem(find("problem"), problem));
  find("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) open(file);
    event.target.value = "";
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) open(file);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    find("ask").classList.add("dropping");
  });
  for (const ended of ["dragleave", "drop"]) {
    document.addEventListener(ended, () => find("ask").classList.remove("dropping"));
  }
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) open(file);
  });
}

async function openFile(file, use) {
  showProblem(find("problem"), null);
  if (file.size > MAX_BYTES) {
    throw new Error(`the file has ${Math.round(file.size / 1e6)} MB, this page reads up to 20; split it.`);
  }
  const content = decode(await file.arrayBuffer());
  const rows = /\.(csv|tsv)$/i.test(file.name) ? parseTable(content) : splitLines(content).map((line) => [line]);
  if (rows.length === 0) throw new Error("the file has no text in it.");
  showSource(file.name, rows, use);
}

function decode(buffer) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(buffer);
  } catch {
    return new TextDecoder("windows-1252").decode(buffer);
  }
}

function showSource(name, rows, use) {
  const [head] = rows;
  const named = head.findIndex((cell) => NAMES.includes(cell.trim().toLowerCase()));
  const isHead = named >= 0 || (head.length > 1 && rows.length > 1);
  const body = isHead ? rows.slice(1) : rows;
  const take = (column) => use({ texts: body.map((row) => row[column] ?? "") });
  const column = named >= 0 ? named : findLongest(body, head.length);
  const remove = make("button", { type: "button", onclick: () => use(null) }, "Take it away");
  find("source").replaceChildren(
    make("p", {}, make("strong", {}, name), make("br"), sayMany(body.length, "text")),
    head.length > 1 ? makeChoice(head, column, take) : "",
    remove,
  );
  take(column);
}

function findLongest(rows, columns) {
  const length = (column) => rows.slice(0, 100).reduce((sum, row) => sum + (row[column] ?? "").length, 0);
  const lengths = Array.from({ length: columns }, (_, column) => length(column));
  return lengths.indexOf(Math.max(...lengths));
}

function makeChoice(head, column, take) {
  const options = head.map((name, number) =>
    make("option", { value: number, selected: number === column }, name.trim() || `column ${number + 1}`),
  );
  const select = make("select", { onchange: (event) => take(Number(event.target.value)) }, options);
  return make("label", { class: "small" }, "Column with the texts", select);
}
