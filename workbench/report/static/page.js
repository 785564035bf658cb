/* Draws the figures in the page's own colours and links each token strip to its matrix. All text goes through
   textContent: nothing here builds HTML from data. Needs elements.js; strip.js and matrix.js where there is a matrix. */
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const darkness = window.matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();
  const palettes = Object.fromEntries(
    Object.entries(data.palettes).map(([scale, { light, dark }]) => [scale, { light: bytes(light), dark: bytes(dark) }]),
  );
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

  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  function floats(text) {
    return new Float32Array(bytes(text).buffer);
  }

  function connect(section, view) {
    const readout = section.querySelector(".readout");
    const caption = section.querySelector(".panel-caption");
    const box = section.querySelector(".strip");
    const tokens = [...box.querySelectorAll(".tok")];
    const { factor } = view;
    let panel = null;
    let spec = null;
    let chosen = tokens.length - 1;

    const strip = Strip.connect(box, tokens, { onMove: choose, onChoose: choose });
    const matrix = Matrix.create(section.querySelector(".drawing"), {
      onChoose: (row) => {
        choose(row * factor);
        strip.stand(row * factor);
      },
    });

    function value(row, column) {
      if (spec.values) return spec.values[row * spec.columns + column];
      const level = spec.levels[row * spec.columns + column];
      return level > spec.top ? NaN : spec.low + ((spec.high - spec.low) * level) / spec.top;
    }

    function choose(index) {
      chosen = index;
      const row = Math.floor(index / factor);
      const entries = Array.from({ length: row + 1 }, (_, column) => value(row, column));
      const read = entries.map((entry, column) => [column, entry]).filter(([, entry]) => Number.isFinite(entry) && entry !== 0);
      read.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
      const most = read.length ? Math.abs(read[0][1]) : 0;
      strip.paint(tokens.map((_, at) => entries[Math.floor(at / factor)] ?? NaN), most, panel.signed);
      strip.mark(index);
      const best = read.slice(0, 4).map(([column, entry]) => `${view.names.columnNames[column]} ${Elements.number(entry)}`);
      readout.textContent = `${view.names.rowNames[row]} reads from ${best.length ? best.join(", ") : "nothing"}.`;
      matrix.select(row, null);
    }

    function show(index) {
      panel = view.panels[index];
      spec = {
        ...view.names, ...panel.header, fingerprint: index,
        levels: bytes(panel.levels), values: panel.values && floats(panel.values),
        palettes: palettes[panel.signed ? "signed" : "unsigned"],
      };
      caption.textContent = panel.caption;
      for (const button of section.querySelectorAll(".thumbs button")) {
        button.setAttribute("aria-pressed", String(Number(button.dataset.panel) === index));
      }
      matrix.update(spec);
      choose(chosen);
    }

    for (const button of section.querySelectorAll(".thumbs button")) {
      button.addEventListener("click", () => show(Number(button.dataset.panel)));
    }
    show(0);
    strip.stand(chosen);
  }

  for (const [id, figure] of Object.entries(data.figures)) draw(id, figure);
  for (const section of document.querySelectorAll(".matrix")) connect(section, data.matrices[section.dataset.matrix]);
  darkness.addEventListener("change", () => {
    for (const [id, layout] of drawn) Plotly.relayout(document.getElementById(id), themed(layout));
  });
})();
