/** Makes elements; whatever text comes in is put in as text, never as markup. */

/** Return an element with attributes, listeners (`onclick` and the like) and children, which may be strings. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return the element of the page with this id. */
export function find(id) {
  return document.getElementById(id);
}

/** Show a problem's sentence in an element, or hide it where there is none. */
export function showProblem(element, problem) {
  element.hidden = !problem;
  element.textContent = problem ? sayProblem(problem) : "";
}

/** Return the sentence of a problem, as a sentence. */
export function sayProblem(problem) {
  const said = problem.message || "something went wrong in this page; load it again.";
  return said.charAt(0).toUpperCase() + said.slice(1);
}
