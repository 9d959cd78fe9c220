/** What the scores of a card are called, and what they mean. */

const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** The scores that are shown first: name, what it means, how it is written. */
export const SCORES = {
  validation_macro_f1: ["Macro F1", "Found and right, balanced, as the mean over labels.", percent],
  validation_accuracy: ["Accuracy", "How many answers of 100 are right.", percent],
  validation_macro_precision: ["Precision", "How often a label that it says is right.", percent],
  validation_macro_recall: ["Recall", "How many texts of a label it finds.", percent],
  validation_calibration_error: ["Calibration error", "How far confidence and being right lie apart.", percent],
  behaviour_minimum_function: ["Plain cases", "Short texts that everybody would call the same.", percent],
  behaviour_invariance: ["Unmoved", "Names and typos that must not change the answer.", percent],
  behaviour_direction: ["Moved", "Words that must move the answer one way, and do.", percent],
};

const OF_A_LABEL = /^validation_(precision|recall|f1)_(.+)$/;

/** Return the other scores as pairs of name and value, as they stand on the card. */
export function listOthers(metrics) {
  const others = Object.entries(metrics).filter(([name]) => !(name in SCORES) && !OF_A_LABEL.test(name));
  return others.map(([name, value]) => [name.replaceAll("_", " "), number.format(value)]);
}

/** Return precision, recall and F1 of a label; undefined where the card does not say. */
export function readLabel(metrics, label) {
  return ["precision", "recall", "f1"].map((name) => metrics[`validation_${name}_${label}`]);
}
