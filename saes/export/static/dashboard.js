"use strict";
/* A list of features that is searched, filtered and sorted, and a panel of the chosen one. Every text from the data
   goes through textContent; nothing here builds HTML. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const list = at("list");
  const panel = at("panel");
  const PAGE = 200;
  const features = data.features;
  const byNumber = new Map(features.map((feature, index) => [feature.i, index]));
  let shown = [];
  let rows = PAGE;
  let chosen = -1;
  let logarithmic = false;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function token(piece) {
    const element = make("span", "tok");
    element.append(make("bdi", "", data.pieces[piece]));
    return element;
  }

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 0.01 && size < 10000 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
  }

  function share(value) {
    return `${number(100 * value)} %`;
  }

  // What a search looks through: the label, the tokens it promotes, and the text of its examples without the marks.
  const haystacks = features.map((feature) => {
    const logits = [...feature.up, ...feature.down].map(([piece]) => data.pieces[piece]).join(" ");
    const texts = feature.examples.map((example) => example.t.map((piece) => data.pieces[piece]).join("")).join("\n");
    return `${feature.i} ${feature.label}\n${logits}\n${texts}`.replaceAll("·", " ").toLowerCase();
  });

  function refresh() {
    const wanted = at("search").value.replaceAll("·", " ").toLowerCase();
    const least = Number(at("least").value);
    const most = Number(at("most").value);
    const key = at("sort").value;
    shown = features.map((_, index) => index).filter((index) => {
      const feature = features[index];
      return (wanted === "" || haystacks[index].includes(wanted))
        && feature.density >= least && feature.density <= most
        && (!at("labelled").checked || feature.label !== "")
        && (at("dead").checked || feature.count > 0);
    });
    const order = {
      feature: (a, b) => a.i - b.i,
      density: (a, b) => b.density - a.density,
      max: (a, b) => b.max - a.max,
      mean: (a, b) => (b.mean || 0) - (a.mean || 0),
      label: (a, b) => (a.label === "") - (b.label === "") || a.label.localeCompare(b.label),
    }[key];
    shown.sort((a, b) => order(features[a], features[b]) || features[a].i - features[b].i);
    rows = PAGE;
    draw();
    if (!shown.includes(chosen)) choose(shown.length ? shown[0] : -1, false);
  }

  function draw() {
    list.replaceChildren();
    for (const index of shown.slice(0, rows)) {
      const feature = features[index];
      const row = make("div", "row");
      row.id = `row${feature.i}`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(index === chosen));
      row.classList.toggle("chosen", index === chosen);
      row.append(make("span", "soft", String(feature.i)));
      const name = make("span", feature.label ? "name" : "name unnamed");
      name.append(make("bdi", "", feature.label || (feature.count ? "no label" : "dead")));
      row.append(name, make("span", "share", share(feature.density)));
      row.addEventListener("click", () => choose(index));
      list.append(row);
    }
    at("more").hidden = shown.length <= rows;
    at("count").textContent = `${shown.length} of ${features.length} features`;
  }

  function choose(index, address = true) {
    chosen = index;
    for (const row of list.querySelectorAll(".chosen")) {
      row.classList.remove("chosen");
      row.setAttribute("aria-selected", "false");
    }
    panel.replaceChildren();
    if (index < 0) {
      panel.append(make("p", "soft", "No feature is left: widen the search or the filters."));
      list.removeAttribute("aria-activedescendant");
      return;
    }
    const feature = features[index];
    while (shown.includes(index) && shown.indexOf(index) >= rows) {
      rows += PAGE;
      draw();
    }
    const row = at(`row${feature.i}`);
    if (row) {
      row.classList.add("chosen");
      row.setAttribute("aria-selected", "true");
      list.setAttribute("aria-activedescendant", row.id);
      // Only the list scrolls, not the page.
      const over = row.offsetTop - list.offsetTop;
      if (over < list.scrollTop || over + row.offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = over - list.clientHeight / 2;
      }
    }
    describe(feature);
    if (address) history.replaceState(null, "", `#${feature.i}`);
  }

  function step(by) {
    const place = shown.indexOf(chosen);
    const next = place < 0 ? 0 : place + by;
    if (next >= 0 && next < shown.length) choose(shown[next]);
  }

  function describe(feature) {
    const heading = make("h2", "", `Feature ${feature.i}`);
    const turn = make("div", "turn");
    for (const [text, by] of [["← previous", -1], ["next →", 1]]) {
      const button = make("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => step(by));
      turn.append(button);
    }
    const label = make("p");
    const name = make("strong");
    name.append(make("bdi", "", feature.label || "no label"));
    label.append(name);
    if (feature.label) label.append(make("span", "soft", ` (label: ${feature.source || "unknown source"})`));
    panel.append(heading, turn, label);
    if (!feature.count) {
      panel.append(make("p", "note", `Dead: it fired on none of the ${data.tokens} tokens.`));
    } else {
      panel.append(make("p", "facts soft",
        `Fires on ${feature.count} of ${data.tokens} tokens (${share(feature.density)}); `
        + `largest activation ${number(feature.max)}, mean where it fires ${number(feature.mean)}.`));
    }
    if (feature.up.length || feature.down.length) logits(feature);
    if (feature.histogram.length) histogram(feature);
    examples(feature);
    neighbours(feature);
  }

  function logits(feature) {
    panel.append(make("h3", "", "What it does to the next token"));
    const pair = make("div", "pair");
    const most = Math.max(...[...feature.up, ...feature.down].map(([, effect]) => Math.abs(effect)), 1e-30);
    for (const [side, title] of [["down", "− lowers most, or raises least"], ["up", "+ raises most"]]) {
      const box = make("div", side);
      box.append(make("div", "soft", title));
      for (const [piece, effect] of feature[side]) {
        const line = make("div", "effect");
        const bar = make("span", "bar");
        bar.style.width = `${(60 * Math.abs(effect) / most).toFixed(1)}%`;
        line.append(token(piece), make("span", "value", number(effect)), bar);
        box.append(line);
      }
      pair.append(box);
    }
    panel.append(pair);
    panel.append(make("p", "caption", "Change of a token's logit by one unit of the feature, straight through the unembedding. Only differences count: what raises all tokens alike changes no probability."));
  }

  function histogram(feature) {
    const head = make("h3", "", "How strongly it fires ");
    const toggle = make("button", "", "logarithmic counts");
    toggle.type = "button";
    toggle.setAttribute("aria-pressed", String(logarithmic));
    toggle.addEventListener("click", () => {
      logarithmic = !logarithmic;
      choose(chosen, false);
    });
    head.append(toggle);
    panel.append(head);
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    const [width, height, left, bottom] = [640, 170, 52, 34];
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("role", "img");
    const bins = feature.histogram;
    const scale = (count) => (logarithmic ? Math.log10(1 + count) : count);
    const top = Math.max(...bins.map(([, , count]) => scale(count)), 1e-30);
    const low = bins[0][0];
    const high = bins[bins.length - 1][1];
    const x = (value) => left + (width - left - 10) * (value - low) / Math.max(high - low, 1e-30);
    const y = (count) => (height - bottom) - (height - bottom - 10) * scale(count) / top;
    const put = (tag, attributes, text) => {
      const element = document.createElementNS(space, tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
      if (text !== undefined) element.textContent = text;
      svg.append(element);
      return element;
    };
    put("line", { x1: left, x2: width - 10, y1: height - bottom, y2: height - bottom });
    for (const [from, to, count] of bins) {
      const bar = put("rect", {
        class: "bin", x: x(from), width: Math.max(1, x(to) - x(from) - 1), y: y(count),
        height: Math.max(0, height - bottom - y(count)),
      });
      const title = document.createElementNS(space, "title");
      title.textContent = `${number(from)} to ${number(to)}: ${count} tokens`;
      bar.append(title);
    }
    const most = Math.max(...bins.map(([, , count]) => count));
    put("text", { x: left, y: height - bottom + 14, "text-anchor": "middle" }, number(low));
    put("text", { x: width - 10, y: height - bottom + 14, "text-anchor": "end" }, number(high));
    put("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "activation");
    put("text", { x: left - 6, y: y(most) + 8, "text-anchor": "end" }, String(most));
    put("text", { x: left - 6, y: height - bottom, "text-anchor": "end" }, "0");
    put("text", { x: 12, y: (height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(height - bottom) / 2})` },
      logarithmic ? "tokens (log)" : "tokens");
    svg.setAttribute("aria-label", `Histogram of ${feature.count} activations from ${number(low)} to ${number(high)}; the fullest bin has ${most}.`);
    panel.append(svg);
    panel.append(make("p", "caption", `Tokens on which it fires; the other ${data.tokens - feature.count} are at zero and not drawn.`));
  }

  function examples(feature) {
    const groups = new Map();
    for (const example of feature.examples) {
      if (!groups.has(example.b)) groups.set(example.b, []);
      groups.get(example.b).push(example);
    }
    for (const [band, some] of groups) {
      panel.append(make("h3", "", `Examples: ${data.bands[band]}`));
      for (const example of some) panel.append(shownExample(feature, example));
    }
    if (!groups.size && feature.count) panel.append(make("p", "soft", "No examples were kept."));
  }

  function shownExample(feature, example) {
    const line = make("div", "example");
    line.append(make("span", "where", `${number(example.v)} · text ${example.r}, token ${example.p}`));
    const read = make("span", "read");
    const values = new Map();
    for (let k = 0; k < example.a.length; k += 2) values.set(example.a[k], example.a[k + 1] / 1000);
    example.t.forEach((piece, index) => {
      const element = token(piece);
      const value = values.get(index) || 0;
      if (value > 0) element.style.backgroundColor = `rgba(213,94,0,${(0.08 + 0.52 * Math.min(1, value)).toFixed(3)})`;
      if (index === example.k) element.classList.add("peak");
      const tell = () => {
        read.textContent = `token ${index - example.k + example.p}: ${number(value * feature.max)}`;
      };
      element.addEventListener("mouseenter", tell);
      element.addEventListener("click", tell);
      line.append(element);
      if (example.n && example.n.includes(index)) line.append(document.createElement("br"));
    });
    line.append(read);
    return line;
  }

  function neighbours(feature) {
    for (const [key, title, unit] of [
      ["near", "Nearest features, by the direction they write", "cosine"],
      ["with", "Features that fire with it", "correlation of firing (phi)"],
    ]) {
      if (!feature[key].length) continue;
      panel.append(make("h3", "", title));
      const box = make("div", "links");
      for (const [other, value] of feature[key]) {
        const there = byNumber.get(other);
        const text = `${other} (${number(value)})`;
        const label = there === undefined ? "" : features[there].label;
        const link = make(there === undefined ? "span" : "button", there === undefined ? "soft" : "");
        link.append(make("span", "", text));
        if (label) link.append(" ", make("bdi", "", label));
        if (there !== undefined) {
          link.type = "button";
          link.addEventListener("click", () => choose(there));
        }
        box.append(link);
      }
      panel.append(box, make("p", "caption", `In brackets: ${unit}.`));
    }
  }

  for (const id of ["search", "sort", "least", "most", "labelled", "dead"]) {
    at(id).addEventListener(id === "search" ? "input" : "change", refresh);
  }
  at("more").addEventListener("click", () => {
    rows += PAGE;
    draw();
  });
  list.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (event.key in steps) {
      event.preventDefault();
      step(steps[event.key]);
    } else if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      if (shown.length) choose(event.key === "Home" ? shown[0] : shown[shown.length - 1]);
    } else if (event.key === "Enter") {
      panel.focus();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === "Escape" && event.target === at("search")) {
      at("search").value = "";
      refresh();
      list.focus();
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j" || event.key === "J") step(1);
    else if (event.key === "k" || event.key === "K") step(-1);
    else if (event.key === "l" || event.key === "L") {
      logarithmic = !logarithmic;
      if (chosen >= 0) choose(chosen, false);
    } else if (event.key === "/") {
      event.preventDefault();
      at("search").focus();
    }
  });
  function follow() {
    const wanted = byNumber.get(Number(location.hash.slice(1)));
    if (location.hash.length > 1 && wanted !== undefined) choose(wanted, false);
  }
  window.addEventListener("hashchange", follow);
  refresh();
  follow();
})();
