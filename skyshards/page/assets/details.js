// The dialog with one row: picture, values, provenance, and the line that loads it. Its address is #row=N.

const dialog = byId("details");
let current = null;

function openDetails(row) {
  drawDetails(row);
  if (!dialog.open) dialog.showModal();
}

function drawDetails(row) {
  current = row;
  const place = found.indexOf(row), { gallery } = page;
  const title = make("h2", { id: "details-title", tabindex: "-1" }, nameOf(row));
  const move = (step, word) => {
    const next = found[place + step];
    return make("button", { type: "button", id: word.toLowerCase(), disabled: place < 0 || next === undefined, onclick: () => drawDetails(next) }, word);
  };
  const close = make("button", { type: "button", id: "close", onclick: () => dialog.close() }, "Close");
  const kept = document.activeElement?.id;
  dialog.replaceChildren(
    make("div", { class: "details-bar" }, title, make("div", { class: "pair" }, masksButton(), move(-1, "Previous"), move(1, "Next"), close)),
    make("div", { class: "details" },
      make("div", { class: "details-picture" }, pictureOf(row), legend(),
        gallery.captions[row] ? make("p", { class: "caption" }, gallery.captions[row]) : null,
        make("h3", {}, "Load it"), codeLine(gallery.code[row], "line that loads this row"),
        make("h3", {}, "Source"), sourceTable(row)),
      make("div", { class: "details-values" }, make("h3", {}, "Values"), valuesTable(row))));
  history.replaceState(null, "", `#row=${gallery.rows[row]}`);
  const again = ["previous", "next"].includes(kept) ? byId(kept) : null;
  (again && !again.disabled ? again : title).focus();
}

function valuesTable(row) {
  const lines = page.columns.map((column) => {
    const value = column.values ? column.values[row] : null;
    let words = column.values ? shown(value) : `${column.type}, in the shard`;
    if (column.classes && column.classes[value] !== undefined) words = `${value} ${column.classes[value]}`;
    return make("tr", {},
      make("th", { scope: "row", title: column.description }, column.name),
      make("td", { class: column.values ? null : "absent" }, words, column.values && column.unit ? make("span", { class: "unit" }, ` ${column.unit}`) : null));
  });
  return make("table", { class: "values" }, make("caption", { class: "hidden" }, "Values of this row"), make("tbody", {}, lines));
}

function sourceTable(row) {
  const [key, url, nbytes, sha256, release, shard, place] = page.gallery.origins[row];
  const lines = [["source", key], ["URL", url ? link(url) : sha256 ? "none: a file on disk" : "none: nothing was fetched"]];
  if (sha256) lines.push(["size", `${count(nbytes)} bytes`], ["sha256", make("code", {}, sha256)]);
  if (release) lines.push(["release", release]);
  lines.push(["shard", shard], ["row of shard", count(place)], ["row of table", count(page.gallery.rows[row])]);
  return make("table", { class: "values" }, make("caption", { class: "hidden" }, "Where this row comes from"),
    make("tbody", {}, lines.map(([word, value]) => make("tr", {}, make("th", { scope: "row" }, word), make("td", {}, value)))));
}

function openAddress() {
  const match = /^#row=(\d+)$/.exec(location.hash), row = match ? page.gallery.rows.indexOf(Number(match[1])) : -1;
  if (row >= 0) openDetails(row);
}

function prepareDetails() {
  dialog.addEventListener("close", () => {
    history.replaceState(null, "", location.pathname + location.search);
    document.querySelector(`.card[data-row="${current}"]`)?.focus(); // where one is, not where one came from
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    if (step && !event.target.closest("pre")) byId(step).click();
  });
  addEventListener("hashchange", openAddress);
  openAddress();
}
