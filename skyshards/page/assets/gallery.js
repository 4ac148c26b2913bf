// The gallery: a button for each row that passes the filters, with its picture.

const STEP = 60;
let limit = STEP;
let found = [];
let masked = true; // whether pictures have their masks over them

function nameOf(row) {
  return String(columns.get("object_id").values[row]);
}

function sourceOf(row) {
  const { pictures, bare } = page.gallery;
  return masked ? pictures[row] : bare[row] || pictures[row];
}

function pictureOf(row, attributes = {}) {
  const source = sourceOf(row), words = page.gallery.captions[row];
  if (!source) return page.gallery.pictures.some(Boolean) ? make("span", { class: "blank" }, "no picture") : null;
  return make("img", { src: source, "data-picture": row, alt: words ? `picture, ${words}` : "picture", ...attributes });
}

// A button that hides and shows the masks of all pictures; null where there are none.
function masksButton() {
  if (!page.gallery.bare.some(Boolean)) return null;
  const toggle = () => {
    masked = !masked;
    for (const image of document.querySelectorAll("img[data-picture]")) image.src = sourceOf(image.dataset.picture);
    for (const list of document.querySelectorAll(".mask-legend")) list.hidden = !masked;
    for (const button of document.querySelectorAll(".masks")) button.setAttribute("aria-pressed", masked);
  };
  return make("button", { type: "button", class: "masks", "aria-pressed": String(masked), onclick: toggle }, "Masks");
}

// The names of the masks beside their colours; null where there are none, or where they differ between rows.
function legend() {
  if (!page.gallery.legend.length) return null;
  const entries = page.gallery.legend.map(([name, colour]) => {
    const swatch = draw("svg", { class: "swatch", viewBox: "0 0 12 12", "aria-hidden": "true" }, draw("rect", { x: 0.5, y: 0.5, width: 11, height: 11, rx: 2, fill: colour }));
    return make("li", {}, swatch, name);
  });
  return make("ul", { class: "mask-legend", hidden: !masked, "aria-label": "Colours of the masks" }, entries);
}

function card(row) {
  const { field } = order;
  const details = [page.gallery.captions[row], field && `${field.name} ${textOf(field, row)}`];
  return make("li", {},
    make("button", { type: "button", class: "card", "data-row": row, onclick: () => openDetails(row) },
      pictureOf(row, { loading: "lazy", decoding: "async" }),
      make("span", { class: "card-name" }, nameOf(row)),
      details.filter(Boolean).map((words) => make("span", { class: "card-detail" }, words))));
}

function drawCards() {
  byId("cards").replaceChildren(...found.slice(0, limit).map(card));
  byId("more").hidden = found.length <= limit;
  byId("status").textContent = statusText();
}

function statusText() {
  const all = page.gallery.rows.length, matching = found.length;
  if (!matching) return "No row matches; remove a filter.";
  const rest = limit < matching ? `; the first ${count(limit)} are shown.` : ".";
  return (matching === all ? plural(all, "row") : `${count(matching)} of ${plural(all, "row")} match`) + rest;
}

function update() {
  limit = STEP;
  found = matching();
  drawCards();
  drawPoints(found);
  const line = selectionCode();
  byId("selection").hidden = !line;
  byId("selection").replaceChildren(...(line ? [make("p", { class: "note" }, "The same selection of all rows:"), codeLine(line, "line that selects these rows")] : []));
}

function drawGallery() {
  const shownRows = page.gallery.rows.length;
  byId("sample").textContent = shownRows === page.rows
    ? `All ${plural(page.rows, "row")} of the dataset.`
    : `A sample of ${count(shownRows)} of ${plural(page.rows, "row")}, evenly spaced over the dataset. Sorting and filters act on the sample; counts and histograms on this page are of all rows.`;
  const masks = masksButton();
  if (masks) byId("status-line").append(make("div", { class: "pair" }, legend(), masks));
  byId("more").addEventListener("click", () => {
    const next = limit;
    limit += STEP;
    drawCards();
    byId("cards").children[next]?.querySelector("button").focus();
  });
}
