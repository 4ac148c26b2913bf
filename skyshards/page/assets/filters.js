// Filters and order of the gallery. A filter is {field, test, code}; `code` is the same condition for table.where.

const columns = new Map(page.columns.map((column) => [column.name, column]));
const filters = new Map();
const order = { field: null, descending: false };
let search = "";

function columnOf(field) {
  return columns.get(field.column);
}

function valueOf(field, row) {
  const value = columnOf(field).values[row];
  return field.element === null ? value : value[field.element];
}

// NaN where missing. Integers that a number would round are big ones, which compare with numbers exactly.
function numberOf(value) {
  if (value === null) return NaN;
  return /^-?\d{16,}$/.test(value) ? BigInt(value) : Number(value);
}

// What is shown of a value: names for labels.
function textOf(field, row) {
  const value = valueOf(field, row), { classes } = columnOf(field);
  return classes && classes[value] !== undefined ? classes[value] : field.role === "flag" ? (value ? "yes" : "no") : shown(value);
}

// The field's name in a condition of table.where.
function coded(field) {
  const path = field.column, plain = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$/.test(path);
  return (plain ? path : `\`${path}\``) + (field.element === null ? "" : `[${field.element}]`);
}

function matching() {
  const tests = [...filters.values()].map((filter) => filter.test).filter(Boolean), words = search.toLowerCase();
  const texts = page.columns.filter((column) => column.type.startsWith("str") && column.values);
  const found = [];
  for (let row = 0; row < page.gallery.rows.length; row += 1) {
    const named = !words || texts.some((column) => String(column.values[row]).toLowerCase().includes(words));
    if (named && tests.every((test) => test(row))) found.push(row);
  }
  return sorted(found);
}

function sorted(rows) {
  const { field } = order, sign = order.descending ? -1 : 1;
  if (!field) return order.descending ? rows.reverse() : rows;
  if (field.role === "number") {
    const key = rows.map((row) => [numberOf(valueOf(field, row)), row]);
    key.sort(([a, i], [b, j]) => Number.isNaN(a) - Number.isNaN(b) || sign * ((a > b) - (a < b)) || i - j);
    return key.map(([, row]) => row);
  }
  const texts = new Intl.Collator("en", { numeric: true });
  return rows.sort((i, j) => sign * texts.compare(textOf(field, i), textOf(field, j)) || i - j);
}

function options(select, chosen) {
  return fill(select, {}, page.fields.map((field, place) => make("option", { value: place, selected: field === chosen }, field.name)));
}

function drawControls() {
  const words = make("input", { type: "search", id: "search", autocomplete: "off", spellcheck: "false", placeholder: "a name, or part of one" });
  words.addEventListener("input", () => { search = words.value.trim(); update(); });
  const by = options(make("select", { id: "sort" }, make("option", { value: "" }, "position in the dataset")));
  by.addEventListener("change", () => { order.field = by.value === "" ? null : page.fields[by.value]; update(); });
  const direction = make("button", { type: "button", id: "direction" }, "Ascending");
  direction.addEventListener("click", () => {
    order.descending = !order.descending;
    direction.textContent = order.descending ? "Descending" : "Ascending";
    update();
  });
  const which = options(make("select", { id: "filter" }));
  const add = make("button", { type: "button", id: "add", onclick: () => addFilter(page.fields[which.value]) }, "Add");
  byId("controls").append(
    make("div", { class: "control" }, make("label", { for: "search" }, "Search text"), words),
    make("div", { class: "control" }, make("label", { for: "sort" }, "Sort by"), make("div", { class: "pair" }, by, direction)),
    make("div", { class: "control" }, make("label", { for: "filter" }, "Filter by"), make("div", { class: "pair" }, which, add)));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
}

// Add the filter of a field, or go to it if it is there; `jump` scrolls to it.
function addFilter(field, jump = false) {
  if (!filters.has(field)) {
    const filter = { field, test: null, code: null };
    const remove = make("button", { type: "button", class: "quiet", "aria-label": `Remove the filter by ${field.name}` }, "Remove");
    filter.element = make("li", {}, make("fieldset", {}, make("legend", {}, field.name), inputs(filter), remove));
    remove.addEventListener("click", () => {
      filters.delete(field);
      filter.element.remove();
      byId("filter").focus();
      update();
    });
    filters.set(field, filter);
    byId("filters").append(filter.element);
    update();
  }
  const { element } = filters.get(field);
  if (jump) element.scrollIntoView({ block: "center" });
  element.querySelector("input").focus({ preventScroll: jump });
}

function inputs(filter) {
  if (filter.field.role === "number") return range(filter);
  return filter.field.role === "text" ? contained(filter) : choices(filter);
}

function range(filter) {
  const { field } = filter, { minimum, maximum } = field.histogram || {};
  const [low, high] = ["least", "most"].map((word, place) =>
    make("input", { type: "number", step: "any", "aria-label": `${word} ${field.name}`, placeholder: minimum === undefined ? word : brief(place ? maximum : minimum) }));
  const change = () => {
    const [least, most] = [low, high].map((input) => (input.value === "" ? null : numberOf(input.value)));
    const name = coded(field), parts = [];
    if (least !== null) parts.push(`${name} >= ${least}`);
    if (most !== null) parts.push(`${name} <= ${most}`);
    filter.code = parts.join(" and ") || null;
    filter.test = parts.length ? (row) => {
      const value = numberOf(valueOf(field, row));
      return value >= (least ?? -Infinity) && value <= (most ?? Infinity);
    } : null;
    update();
  };
  for (const input of [low, high]) input.addEventListener("input", change);
  const unit = unitOf(field);
  return make("div", { class: "range" }, low, make("span", {}, "to"), high, unit ? make("span", { class: "unit" }, unit) : null);
}

function contained(filter) {
  const { field } = filter, input = make("input", { type: "search", autocomplete: "off", "aria-label": `${field.name} contains`, placeholder: "contains" });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase();
    filter.test = words ? (row) => textOf(field, row).toLowerCase().includes(words) : null;
    filter.code = words ? undefined : null; // table.where cannot search in texts
    update();
  });
  return input;
}

function choices(filter) {
  const { field } = filter, names = field.counts.map(([name]) => name), { classes } = columnOf(field);
  const wanted = new Set();
  const boxes = names.map((name) => {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      if (box.checked) wanted.add(name);
      else wanted.delete(name);
      filter.test = wanted.size ? (row) => wanted.has(choiceOf(field, row)) : null;
      filter.code = wanted.size ? choiceCode(field, [...wanted], classes) : null;
      update();
    });
    return make("label", {}, box, ` ${shown(name)}`);
  });
  return make("div", { class: "choices" }, boxes);
}

function choiceOf(field, row) {
  const value = valueOf(field, row), { classes } = columnOf(field);
  if (classes) return classes[value] ?? "other";
  return field.role === "flag" ? (value ? "yes" : "no") : value;
}

function choiceCode(field, wanted, classes) {
  const name = coded(field);
  if (field.role === "flag") return wanted.length > 1 ? null : wanted[0] === "yes" ? name : `not ${name}`;
  if (classes && wanted.includes("other")) return undefined;
  const values = wanted.map((word) => (classes ? classes.indexOf(word) : JSON.stringify(word)));
  return values.length === 1 ? `${name} == ${values[0]}` : `${name} in (${values.join(", ")})`;
}

// The line that selects the same rows of the whole dataset; null where there is none.
function selectionCode() {
  const codes = [...filters.values()].map((filter) => filter.code);
  if (search || codes.includes(undefined)) return null;
  const condition = codes.filter(Boolean).join(" and ");
  return condition ? `${page.open}.where(${pythonText(condition)})` : null;
}

function pythonText(text) {
  const escaped = text.replace(/\\/g, "\\\\");
  return escaped.includes("'") ? `"${escaped.replace(/"/g, '\\"')}"` : `'${escaped}'`;
}
