// Elements and text. Whatever a dataset says becomes text nodes and attributes here, never HTML.

const page = JSON.parse(document.getElementById("contents").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

function count(number) {
  return number.toLocaleString("en-US");
}

function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit ? number.toPrecision(3) : number} ${units[unit]}`;
}

// A number in few digits, for axes and captions; the details show all of them.
function brief(number, digits = 4) {
  if (!Number.isFinite(number)) return String(number);
  if (Number.isInteger(number) && Math.abs(number) < 1e7) return count(number);
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return number.toExponential(digits - 2).replace("e+", "e");
  const rounded = Number(number.toPrecision(digits));
  return size < 1000 ? String(rounded) : rounded.toLocaleString("en-US", { maximumFractionDigits: digits });
}

// Numbers with as many digits as tell them apart.
function apart(numbers) {
  let texts = [];
  for (let digits = 4; digits <= 16; digits += 2) {
    texts = numbers.map((number) => brief(number, digits));
    if (new Set(texts).size === new Set(numbers).size) break;
  }
  return texts;
}

function shown(value) {
  if (value === null) return "NaN";
  if (value === "") return "(empty)";
  if (Array.isArray(value)) return value.map(shown).join(", ");
  return String(value);
}

// A line of code with a button that copies it, where the browser lets pages copy.
function codeLine(text, label) {
  const block = make("div", { class: "code" }, make("pre", { tabindex: "0", role: "group", "aria-label": label }, make("code", {}, text)));
  if (navigator.clipboard) {
    const button = make("button", { type: "button", class: "copy", "aria-label": `Copy: ${label}` }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Press Ctrl-C";
        getSelection().selectAllChildren(block.querySelector("code"));
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }
  return block;
}

// Only web addresses become links: a file that names a source may name anything.
function link(url) {
  return /^https?:\/\//i.test(url) ? make("a", { href: url, rel: "noreferrer" }, url) : document.createTextNode(url);
}
