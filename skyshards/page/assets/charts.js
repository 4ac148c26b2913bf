// Histograms and counts of all rows of the dataset.

const CHART = { width: 320, height: 96 };

function unitOf(field) {
  const column = columnOf(field);
  return column && column.unit ? ` ${column.unit}` : "";
}

function spoken(field, histogram) {
  const unit = unitOf(field);
  const [minimum, median, maximum] = apart([histogram.minimum, histogram.median, histogram.maximum]);
  const words = [
    `Histogram of ${field.name}: ${plural(page.rows - histogram.missing, "value")} from ${minimum} to ${maximum}${unit}, median ${median}`,
  ];
  if (histogram.missing) words.push(`${count(histogram.missing)} missing`);
  return words.join("; ");
}

function bars(histogram) {
  const most = Math.max(...histogram.counts, 1), width = CHART.width / histogram.counts.length;
  return histogram.counts.map((number, place) => {
    const height = number ? Math.max(1.5, (CHART.height * number) / most) : 0;
    const gap = width > 4 ? 1 : 0;
    return draw("rect", { x: (place * width).toFixed(2), y: (CHART.height - height).toFixed(2), width: (width - gap).toFixed(2), height: height.toFixed(2) });
  });
}

function placeOf(histogram, value) {
  const scale = histogram.log ? Math.log10 : (number) => number;
  const [start, stop] = [scale(histogram.start), scale(histogram.stop)];
  return (CHART.width * (scale(value) - start)) / (stop - start);
}

function histogramCard(field) {
  const column = columnOf(field), histogram = field.histogram;
  const title = make("h3", {}, field.name, column.unit ? make("span", { class: "unit" }, ` ${column.unit}`) : null);
  const card = make("figure", { class: "card-chart" }, make("figcaption", {}, title, make("p", { class: "what" }, column.description)));
  const middle = placeOf(histogram, histogram.median).toFixed(2);
  const outside = [];
  if (histogram.below) outside.push(`${count(histogram.below)} below`);
  if (histogram.above) outside.push(`${count(histogram.above)} above`);
  if (histogram.missing) outside.push(`${count(histogram.missing)} missing`);
  if (histogram.log) outside.push("logarithmic");
  const whole = histogram.counts.length > 1 && Number.isInteger(histogram.start + 0.5) && Number.isInteger(histogram.stop + 0.5);
  const half = whole ? 0.5 : 0;
  const [start, median, stop] = apart([histogram.start + half, histogram.median, histogram.stop - half]);
  card.append(
    draw("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": spoken(field, histogram), preserveAspectRatio: "none", class: "bars" },
      ...bars(histogram),
      draw("line", { class: "median", x1: middle, x2: middle, y1: 0, y2: CHART.height })),
    make("div", { class: "axis", "aria-hidden": "true" },
      make("span", {}, start), make("span", { class: "median-label" }, `median ${median}`), make("span", {}, stop)),
    make("div", { class: "foot" }, make("span", {}, outside.join(", ")), filterButton(field)),
  );
  return card;
}

function countsCard(field) {
  const column = columnOf(field), most = Math.max(...field.counts.map(([, number]) => number), 1);
  const rows = field.counts.map(([name, number]) =>
    make("tr", {},
      make("th", { scope: "row" }, shown(name)),
      make("td", { class: "bar", "aria-hidden": "true" }, draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" }, draw("rect", { width: (100 * number) / most, height: 10 }))),
      make("td", { class: "number" }, count(number)),
      make("td", { class: "number share" }, `${((100 * number) / page.rows).toFixed(1)} %`)));
  const title = make("h3", {}, field.name);
  return make("div", { class: "card-chart" }, title, make("p", { class: "what" }, column.description),
    make("table", { class: "counts" },
      make("caption", { class: "hidden" }, `Rows by ${field.name}`),
      make("thead", { class: "hidden" }, make("tr", {}, ...[field.name, "", "rows", "share"].map((word) => make("th", { scope: "col" }, word)))),
      make("tbody", {}, rows)),
    make("div", { class: "foot" }, make("span", {}), filterButton(field)));
}

function filterButton(field) {
  return make("button", { type: "button", class: "quiet", "aria-label": `Filter the gallery by ${field.name}`, onclick: () => addFilter(field, true) }, "Filter");
}

function drawCharts() {
  const same = page.fields.filter(isConstant), varying = page.fields.filter((field) => !isConstant(field));
  const counted = varying.filter((field) => field.counts), numeric = varying.filter((field) => field.histogram !== undefined);
  byId("counts").append(...counted.map(countsCard));
  byId("histograms").append(...numeric.map(histogramCard));
  for (const [id, found] of [["classes", counted], ["distributions", numeric]]) byId(id).hidden = byId(`${id}-link`).hidden = !found.length;
  byId("distributions-note").textContent = `All ${count(page.rows)} rows; the line marks the median.`;
  byId("constants").hidden = !same.length;
  byId("constants").append(make("h3", {}, "The same in all rows"), make("dl", { class: "terms" }, terms(same.map((field) => [field.name, textOf(field, 0)]))));
}

// Whether all rows have the same value, so that there is nothing to draw.
function isConstant(field) {
  const { histogram, counts } = field;
  if (histogram === null) return true; // NaN
  if (histogram) return histogram.minimum === histogram.maximum && !histogram.missing;
  return field.role === "choice" && counts.length === 1;
}

function terms(pairs) {
  return pairs.map(([word, value]) => make("div", {}, make("dt", {}, word), make("dd", {}, value)));
}
