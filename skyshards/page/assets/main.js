// The page, once: title, facts, columns, provenance; then what the user changes.

function drawOverview() {
  byId("name").textContent = page.title;
  byId("kind").textContent = (page.simulated ? "Simulated dataset" : "Dataset") + (page.title === page.name ? "" : ` ${page.name}`);
  byId("description").textContent = page.description;
  byId("simulated").hidden = !page.simulated;
  const splits = Object.entries(page.splits);
  const pairs = [["rows", count(page.rows)], ["columns", count(page.columns.length)]];
  if (splits.length > 1) pairs.push(...splits.map(([name, rows]) => [name, count(rows)]));
  pairs.push(["shards", count(page.shards)], ["size", bytes(page.nbytes)]);
  pairs.push(...Object.entries(page.sources).map(([status, number]) => [`sources ${status}`, count(number)]));
  byId("facts").append(...terms(pairs));
  byId("load").append(codeLine(`import skyshards\n\ntable = ${page.open}`, "lines that load the dataset"));
}

function labels(column) {
  return column.classes ? ` (${column.classes.map((name, label) => `${label} ${name}`).join(", ")})` : "";
}

function drawColumns() {
  const header = ["column", "type", "unit", "what it is"].map((word) => make("th", { scope: "col" }, word));
  const rows = page.columns.map((column) =>
    make("tr", {}, make("th", { scope: "row" }, make("code", {}, column.name)), make("td", {}, column.type), make("td", {}, column.unit), make("td", {}, column.description + labels(column))));
  byId("columns-table").append(make("table", { class: "plain" }, make("thead", {}, make("tr", {}, header)), make("tbody", {}, rows)));
}

function drawProvenance() {
  const options = Object.entries(page.options);
  const licences = page.licences.length ? ` The card names the licence of the data: ${page.licences.join(", ")}.` : "";
  byId("build").append(
    make("p", {}, `Built by ${page.built_by}, in format ${page.format}, with shards by HEALPix pixel (nside ${page.nside}, NESTED).${licences}`),
    make("h3", {}, "Options of the build"),
    options.length ? make("dl", { class: "terms" }, terms(options)) : make("p", {}, "The default ones."),
    make("p", {}, "Each row in the gallery shows its source, with URL and sha256. Sources of all rows are in ", make("code", {}, "sources.parquet"), ", hashes of all files in ", make("code", {}, "SHA256SUMS"), "."),
    page.on_disk
      ? codeLine(`skyshards verify ${page.shell}\nskyshards cite ${page.shell}`, "commands that check the dataset, and say how to cite it")
      : codeLine(`skyshards cite ${page.shell}`, "command that says how to cite it"));
  byId("footer").textContent = `Page by ${page.page_by}.`;
}

drawOverview();
drawSky();
drawControls();
drawGallery();
drawCharts();
drawColumns();
drawProvenance();
update();
prepareDetails();
