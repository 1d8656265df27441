// Recommended lists, one for each bundle, with the weights of its signals and why each item is there.

import { ask, button, make, named, tell, told } from "./service.js";

const N_HUES = 8;
const DIGITS = 3;
const SOURCES = {
  llm: "the language model",
  text: "text mode",
  fused: "the model with its signals",
  popularity: "popularity",
};

/** The lists of all bundles. Calls `changed` when the catalog did, and `take` to extend the history. */
export class Lists {
  constructor(place, { history, options, take, changed }) {
    Object.assign(this, { place, history, options, take, changed });
    this.columns = [];
  }

  show(bundles) {
    this.columns = bundles.map((bundle, number) => new Column(bundle, number, this));
    this.place.replaceChildren(...this.columns.map((column) => column.element));
    return this.refresh();
  }

  async refresh() {
    this.request?.abort();
    this.request = new AbortController();
    const { signal } = this.request;
    await Promise.all(this.columns.map((column) => column.load(signal)));
    for (const column of this.columns) column.draw(this.columns.filter((one) => one !== column));
  }
}

class Column {
  constructor(bundle, number, lists) {
    Object.assign(this, { bundle, lists, answer: null });
    this.gammas = { ...bundle.signals };
    this.source = make("p", { className: "facts" });
    this.list = make("ol", { className: "list" });
    const heading = make("h3", { id: `bundle-${number}` }, "Bundle ", named(bundle.name));
    this.element = make("article", {}, heading, this.weights(), this.source, this.list);
    this.element.setAttribute("aria-labelledby", heading.id);
    this.list.setAttribute("aria-labelledby", heading.id);
  }

  weights() {
    const signals = Object.entries(this.bundle.signals);
    const group = make("fieldset", { className: "weights" }, make("legend", {}, "Weights of signals"));
    if (!signals.length) group.append("This bundle fuses no signals.");
    for (const [name, gamma] of signals) {
      const value = make("output", { textContent: gamma });
      const most = Math.max(1, 4 * gamma);
      const slider = make("input", { type: "range", min: 0, max: most, step: most / 100 });
      slider.value = gamma;
      slider.oninput = () => {
        this.gammas[name] = Number(slider.value);
        value.textContent = this.gammas[name].toFixed(2);
        this.lists.options.changed();
      };
      group.append(make("label", {}, make("span", {}, named(name)), slider, value));
    }
    return group;
  }

  async load(signal) {
    const { length, includeSeen } = this.lists.options.read();
    const body = { history: this.lists.history(), k: length, bundle: this.bundle.name };
    if (Object.keys(this.gammas).length) body.gammas = this.gammas;
    if (includeSeen) body.exclude_seen = false;
    this.asked = body;
    this.answer = await ask("POST", "v1/recommend", body, signal);
  }

  draw(others) {
    this.source.textContent = `By ${SOURCES[this.answer.source]}; version ${this.answer.version}.`;
    const cards = this.answer.items.map((item) => this.card(item, others));
    this.list.replaceChildren(...cards);
  }

  card(item, others) {
    const facts = [`Score ${item.score.toFixed(DIGITS)}`];
    if (item.distance !== null) facts.push(`distance ${item.distance.toFixed(DIGITS)}`);
    for (const { bundle, answer } of others) {
      const same = answer.items.find(({ item_id: id }) => id === item.item_id);
      facts.push(same ? `rank ${same.rank} in ${bundle.name}` : `not in ${bundle.name}`);
    }
    const why = make("details", {}, make("summary", {}, "Why"));
    why.ontoggle = told(() => why.open && !why.dataset.filled && this.explain(item, why));
    const title = make("p", { className: "title" }, `${item.rank}. `, named(item.title));
    const actions = make(
      "p", {},
      button("Take", item.title, () => this.lists.take(item)), " ",
      button("Hide", item.title, told(() => this.hide(item))),
    );
    const text = make("div", {}, title, make("p", { className: "facts" }, named(facts.join(", "))), why, actions);
    return make("li", { className: "card" }, cover(item), text);
  }

  async explain(item, place) {
    const { history, gammas, bundle, exclude_seen: excludeSeen } = this.asked;
    const body = { history, item: item.item_id, bundle };
    if (gammas) body.gammas = gammas;
    if (excludeSeen === false) body.exclude_seen = false;
    const found = await ask("POST", "v1/explain", body);
    place.dataset.filled = "yes";
    place.append(parts(found), ...reasons(found));
  }

  async hide(item) {
    await ask("PATCH", `v1/items/${encodeURIComponent(item.item_id)}`, { hidden: true });
    tell(`${item.title} is hidden.`);
    await this.lists.changed();
  }
}

/** A cover of plain text: initials on a color that is the same for the same title. */
function cover(item) {
  const words = item.title.match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  const initials = words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
  let sum = 0;
  for (const letter of item.title) sum = (31 * sum + letter.codePointAt(0)) % 65521;
  const element = make("div", { className: `cover hue-${sum % N_HUES}` }, initials);
  element.setAttribute("aria-hidden", "true");
  return element;
}

function parts(found) {
  const rows = found.parts.map((part) => {
    const percent = `${(100 * part.share).toFixed(0)} %`;
    const meter = make("meter", { min: 0, max: 1, value: part.share, ariaLabel: `Share: ${percent}` });
    const gamma = part.gamma === null ? "" : `weight ${part.gamma.toFixed(2)}`;
    const name = make("th", { scope: "row" }, named(part.name));
    return make("tr", {}, name, make("td", {}, meter, ` ${percent}`), make("td", {}, gamma));
  });
  const caption = make("caption", {}, "Shares of the score");
  return make("table", { className: "parts" }, caption, make("tbody", {}, ...rows));
}

function reasons(found) {
  const near = (items) => items.map((item) => `${item.title} (${item.distance.toFixed(2)})`).join("; ");
  const lines = [];
  if (found.rule) lines.push(["Fused by", found.rule]);
  if (found.history.length) lines.push(["Nearest of the history", near(found.history.slice(0, 3))]);
  if (found.nearest.length) lines.push(["Nearest titles", near(found.nearest)]);
  for (const { text, log_prob: logProb } of found.texts) {
    lines.push(["Written text", `${text} (${Math.exp(logProb).toFixed(3)})`]);
  }
  return lines.map(([name, text]) => make("p", { className: "facts" }, `${name}: `, named(text)));
}
