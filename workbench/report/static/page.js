"use strict";
/* Draws the figures in the page's own colours and links each token strip to its matrix. All text goes through
   textContent: nothing here builds HTML from data. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const darkness = window.matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();
  // Plotly's default bar offers to send the data to a cloud; this one zooms, goes back and saves a picture.
  const config = {
    responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function themed(layout) {
    const patch = {
      "font.color": colour("--ink"),
      "hoverlabel.bgcolor": colour("--raised"),
      "hoverlabel.bordercolor": colour("--line"),
      "hoverlabel.font.color": colour("--ink"),
      "modebar.color": colour("--soft"),
      "modebar.activecolor": colour("--accent"),
      "modebar.bgcolor": "rgba(0,0,0,0)",
    };
    const axis = layout.coloraxis;
    // An unsigned scale starts at the page: light on paper, dark in the dark. A signed one is the same on both.
    if (axis && axis.cmin === 0) {
      patch["coloraxis.colorscale"] = darkness.matches ? layout.meta.dark_scale : axis.colorscale;
    }
    return patch;
  }

  function draw(id, figure) {
    const box = document.getElementById(id);
    const layout = structuredClone(figure.layout);
    if (box.clientWidth < 480) {
      // Half as many labels fit on a phone.
      for (const name of ["xaxis", "yaxis"]) {
        const axis = layout[name];
        if (axis && axis.ticktext && axis.ticktext.length > 20) {
          axis.tickvals = axis.tickvals.filter((_, index) => index % 2 === 0);
          axis.ticktext = axis.ticktext.filter((_, index) => index % 2 === 0);
        }
      }
    }
    drawn.set(id, layout);
    return Plotly.react(box, structuredClone(figure.data), layout, { ...config, displayModeBar: box.clientWidth < 480 ? false : "hover" })
      .then(() => Plotly.relayout(box, themed(layout)));
  }

  function decode(spec) {
    const [rows, columns] = spec.shape.split(",").map(Number);
    const bytes = Uint8Array.from(atob(spec.bdata), (character) => character.charCodeAt(0));
    return { rows, columns, values: new Float32Array(bytes.buffer) };
  }

  function number(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 0.001 && size < 10000 ? value.toFixed(3) : value.toExponential(2);
  }

  function connect(section, view) {
    const id = section.dataset.matrix;
    const strip = section.querySelector(".strip");
    const readout = section.querySelector(".readout");
    const caption = section.querySelector(".panel-caption");
    const tokens = [...strip.querySelectorAll(".tok")];
    const names = tokens.map((token) => token.textContent);
    const { factor } = view;
    let matrix = null;
    let chosen = -1;

    function named(pixel) {
      const first = pixel * factor;
      const last = Math.min(first + factor, names.length) - 1;
      return first === last ? `${first} “${names[first]}”` : `${first}–${last} “${names[first]}…”`;
    }

    function value(row, column) {
      return matrix.values[row * matrix.columns + column];
    }

    function clear() {
      for (const token of tokens) {
        token.style.backgroundColor = "";
        token.classList.remove("plus", "minus", "chosen");
        token.removeAttribute("aria-selected");
      }
    }

    function choose(index) {
      chosen = index;
      clear();
      const row = Math.floor(index / factor);
      let most = 0;
      const links = [];
      for (let column = 0; column <= row && column < matrix.columns; column += 1) {
        const entry = value(row, column);
        if (Number.isFinite(entry) && entry !== 0) {
          links.push([column, entry]);
          most = Math.max(most, Math.abs(entry));
        }
      }
      tokens[index].classList.add("chosen");
      tokens[index].setAttribute("aria-selected", "true");
      for (const [column, entry] of links) {
        const share = Math.abs(entry) / most;
        const hue = entry > 0 ? "213,94,0" : "0,114,178";
        for (let t = column * factor; t < Math.min((column + 1) * factor, tokens.length); t += 1) {
          tokens[t].style.backgroundColor = `rgba(${hue},${(0.6 * share).toFixed(3)})`;
          if (share > 0.25 && view.panels[panel].signed) tokens[t].classList.add(entry > 0 ? "plus" : "minus");
        }
      }
      links.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
      const best = links.slice(0, 4).map(([column, entry]) => `${named(column)} ${number(entry)}`);
      readout.textContent = best.length
        ? `${named(row)} reads from ${best.join(", ")}.`
        : `${named(row)} reads from nothing.`;
    }

    let panel = 0;
    function show(index) {
      panel = index;
      const { figure } = view.panels[index];
      matrix = decode(figure.data[0].z);
      caption.textContent = view.panels[index].caption;
      for (const button of section.querySelectorAll(".thumbs button")) {
        button.setAttribute("aria-pressed", String(Number(button.dataset.panel) === index));
      }
      if (chosen >= 0) choose(chosen);
      return draw(id, figure);
    }

    for (const token of tokens) {
      const index = Number(token.dataset.i);
      token.addEventListener("mouseenter", () => choose(index));
      token.addEventListener("click", () => choose(index));
    }
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      choose(Math.min(tokens.length - 1, Math.max(0, chosen + step)));
      tokens[chosen].scrollIntoView({ block: "nearest" });
    });
    for (const button of section.querySelectorAll(".thumbs button")) {
      button.addEventListener("click", () => show(Number(button.dataset.panel)));
    }
    show(0).then(() => {
      document.getElementById(id).on("plotly_hover", (event) => {
        const { x, y } = event.points[0];
        readout.textContent = `${named(y)} reads ${number(value(y, x))} from ${named(x)}.`;
      });
      choose(tokens.length - 1);
    });
  }

  for (const [id, figure] of Object.entries(data.figures)) draw(id, figure);
  for (const section of document.querySelectorAll(".matrix")) connect(section, data.matrices[section.dataset.matrix]);
  darkness.addEventListener("change", () => {
    for (const [id, layout] of drawn) Plotly.relayout(document.getElementById(id), themed(layout));
  });
})();
