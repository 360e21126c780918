"use strict";
(() => {
  const list = document.getElementById("rows");
  if (!list) return;
  const { codes, rows } = JSON.parse(document.getElementById("data").textContent);
  const form = document.querySelector(".filters");
  const text = document.getElementById("text");
  const code = document.getElementById("code");
  const shown = document.getElementById("shown");
  const more = document.querySelector(".more");
  const STEP = 100, PRINTED = 2000;
  const number = new Intl.NumberFormat("en");
  let found = [], drawn = 0, words;

  // What cannot be seen, or turns the direction of writing, is written out.
  const clean = (value) =>
    value.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (mark) => "\\u{" + mark.codePointAt(0).toString(16) + "}");

  // Text only ever goes in as text: names are hostile until proven otherwise.
  const element = (tag, kind, content) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (content !== undefined) made.textContent = clean(content);
    return made;
  };

  const row = ([which, path, line, message, got, expected]) => {
    const [name, severity] = codes[which];
    const item = element("li", severity);
    const head = element("p", "mark");
    head.append(element("b", "", name), " ", element("span", "severity", severity));
    const body = element("div", "what");
    body.append(element("p", "message", message));
    const facts = element("p", "facts");
    for (const [label, value] of [["got", got], ["expected", expected]]) {
      if (value === null) continue;
      const fact = element("span");
      fact.append(element("i", "", label), " ", element("code", "", value));
      facts.append(fact);
    }
    if (facts.firstChild) body.append(facts);
    item.append(head, body);
    if (path !== null) item.append(element("p", "place", path + (line === null ? "" : ":" + line)));
    return item;
  };

  const draw = (upTo) => {
    const part = document.createDocumentFragment();
    for (; drawn < Math.min(upTo, found.length); drawn++) part.append(row(rows[found[drawn]]));
    list.append(part);
    more.hidden = drawn === found.length;
  };

  const filter = () => {
    const wanted = new Set([...form.querySelectorAll("[name=severity]:checked")].map((box) => box.value));
    const parts = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (parts.length && !words) {
      words = rows.map((r) => [codes[r[0]][0], r[1] === null ? "" : r[1] + ":" + r[2], r[3], r[4], r[5]].join(" ").toLowerCase());
    }
    found = [];
    rows.forEach(([which], place) => {
      const [name, severity] = codes[which];
      if (!wanted.has(severity) || (code.value && code.value !== name)) return;
      if (parts.every((part) => words[place].includes(part))) found.push(place);
    });
    list.replaceChildren();
    drawn = 0;
    draw(STEP);
    shown.textContent =
      found.length === rows.length ? number.format(rows.length) : number.format(found.length) + " of " + number.format(rows.length);
  };

  let waiting;
  text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  form.addEventListener("change", (event) => { if (event.target !== text) filter(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("more").addEventListener("click", () => draw(drawn + STEP));
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) draw(drawn + STEP); }, { rootMargin: "600px" }).observe(more);
  addEventListener("beforeprint", () => {
    draw(PRINTED);
    const rest = found.length - drawn;
    document.querySelector(".printed").textContent = rest ? "… and " + number.format(rest) + " more, which only the screen shows." : "";
  });
  for (const link of document.querySelectorAll("[data-code]")) {
    link.addEventListener("click", () => { form.reset(); code.value = link.dataset.code; filter(); });
  }
  form.hidden = false;
  form.reset();
  filter();
})();
