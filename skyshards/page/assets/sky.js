// The sky: the map of all rows, and a point for each row of the gallery that passes the filters.

const points = draw("g", { class: "points" });
const CROWD = 200; // more points than this would hide the map, and are drawn only where filters chose them

function drawSky() {
  const { sky } = page;
  const words = `Rows lie in ${plural(sky.pixels, "HEALPix pixel")} of nside ${sky.nside} (${brief(sky.square_degrees)} square degrees), with up to ${plural(sky.most, "row")} in one.`;
  byId("sky").append(
    draw("svg", { viewBox: "-12 -12 1024 524", role: "img", "aria-label": `Map of the sky in Mollweide projection. ${words}` },
      draw("ellipse", { class: "night", cx: 500, cy: 250, rx: 500, ry: 250 }),
      draw("image", { href: sky.map, x: 0, y: 0, width: 1000, height: 500 }),
      draw("path", { class: "lines", d: sky.graticule }),
      draw("path", { class: "galactic", d: sky.galactic }),
      points,
      ...sky.labels.map(([x, y, text, anchor]) => draw("text", { x, y, "text-anchor": anchor }, text))));
  byId("sky-caption").textContent = `${words} Mollweide projection, ICRS, east to the left; brighter pixels hold more rows, circles are rows that the filters of the gallery chose. Dashed: the Galactic plane.`;
}

function drawPoints(rows) {
  const { x, y } = page.gallery;
  const all = rows.length === x.length && rows.length > CROWD;
  points.replaceChildren(...(all ? [] : rows).filter((row) => x[row] !== null).map((row) =>
    draw("circle", { cx: (500 * (1 + x[row])).toFixed(1), cy: (250 * (1 - y[row])).toFixed(1), r: 5 })));
}
