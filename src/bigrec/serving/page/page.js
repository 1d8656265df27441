// The page: a history, the lists for it, and the catalog.

import { Lists } from "./lists.js";
import { ask, button, key, make, named, needsKey, paused, setKey, tell, told } from "./service.js";

const PAUSE_MS = 120;
const PAGE = Number(document.body.dataset.page);
const at = (id) => document.getElementById(id);

let taken = [];
let start = 0;
let next = null;

const options = {
  read: () => ({
    length: Math.min(100, Math.max(1, at("length").valueAsNumber || 10)),
    includeSeen: at("seen").checked,
  }),
  changed: paused(told(() => lists.refresh()), PAUSE_MS),
};
const lists = new Lists(at("lists"), {
  options,
  history: () => taken.map((item) => item.item_id),
  take,
  changed: () => Promise.all([lists.refresh(), drawCatalog()]),
});

function take(item) {
  taken.push(item);
  tell(`${item.title} was added to the history.`);
  drawTaken();
}

function drawTaken() {
  at("nothing-taken").hidden = taken.length > 0;
  at("taken").replaceChildren(
    ...taken.map((item, place) =>
      make("li", {}, named(item.title), " ",
        button("Remove", item.title, () => {
          taken = taken.filter((_, other) => other !== place);
          drawTaken();
          at("search").focus();
        })),
    ),
  );
  options.changed();
}

async function find() {
  const search = at("search").value.trim();
  if (!search) {
    at("found").replaceChildren();
    return;
  }
  const query = new URLSearchParams({ search, limit: "10" });
  const { items, total } = await ask("GET", `v1/items?${query}`);
  at("found").replaceChildren(
    ...items.map((item) => make("li", {},
      button("Add", item.title, () => take(item)), " ", named(item.title))),
  );
  tell(total === 1 ? "One title was found." : `${total} titles were found.`);
}

async function drawCatalog() {
  const query = new URLSearchParams({ search: at("catalog-search").value.trim(), start, limit: PAGE });
  if (at("hidden-only").checked) query.set("hidden", "true");
  const page = await ask("GET", `v1/items?${query}`);
  next = page.next;
  at("catalog").replaceChildren(...page.items.map(row));
  const last = start + page.items.length;
  at("catalog-caption").textContent = page.total
    ? `Items ${start + 1} to ${last} of ${page.total}.` : "No item matches.";
  at("earlier").disabled = start === 0;
  at("later").disabled = next === null;
}

function row(item) {
  const verb = item.hidden ? "Show" : "Hide";
  const change = button(verb, item.title, told(async () => {
    await ask("PATCH", `v1/items/${encodeURIComponent(item.item_id)}`, { hidden: !item.hidden });
    tell(`${item.title} is ${item.hidden ? "shown" : "hidden"}.`);
    await lists.changed();
  }));
  return make("tr", {}, make("td", {}, named(item.item_id)), make("td", {}, named(item.title)),
    make("td", {}, item.hidden ? "no " : "yes ", change));
}

async function add(event) {
  event.preventDefault();
  const item = await ask("POST", "v1/items", { item_id: at("new-id").value, title: at("new-title").value });
  at("add-form").reset();
  tell(`${item.title} is in the catalog.`);
  await lists.changed();
  at("new-id").focus();
}

async function begin() {
  if (needsKey() && !key()) {
    at("key").focus();
    return;
  }
  const info = await ask("GET", "info");
  const [first] = info.bundles;
  at("about").textContent =
    `${first.n_titles} titles, ${first.mode} mode, bigrec ${info.bigrec}. Why each item is there, live.`;
  await Promise.all([lists.show(info.bundles), drawCatalog()]);
}

const restart = () => {
  start = 0;
  return drawCatalog();
};
at("key-form").onsubmit = told((event) => {
  event.preventDefault();
  setKey(at("key").value);
  at("key").value = "";
  return begin();
});
at("search-form").onsubmit = (event) => event.preventDefault();
at("options").onsubmit = (event) => event.preventDefault();
at("catalog-form").onsubmit = (event) => event.preventDefault();
at("search").oninput = paused(told(find), PAUSE_MS);
at("length").oninput = options.changed;
at("seen").onchange = options.changed;
at("add-form").onsubmit = told(add);
at("catalog-search").oninput = paused(told(restart), PAUSE_MS);
at("hidden-only").onchange = told(restart);
at("earlier").onclick = told(() => {
  start = Math.max(0, start - PAGE);
  return drawCatalog();
});
at("later").onclick = told(() => {
  start = next;
  return drawCatalog();
});
told(begin)();
