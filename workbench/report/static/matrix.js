/* A matrix on a canvas: bytes are looked up in a palette and scaled up without smoothing, so 512 x 512 cells cost a few
   milliseconds. Labels are elements set by textContent. Needs elements.js.

   A spec has: rows, columns; levels (Uint8Array, row by row); palettes {light, dark} (Uint8Array, four bytes a level);
   missing, masked (levels that are no values); low, high (values of level 0 and of level `top`), top; values
   (Float32Array or null: exact values); rowLabels, columnLabels, rowNames, columnNames (short and long); rowTitle,
   columnTitle; name; notes; upward (row 0 at the bottom); square; cell (pixels a row, where not square); least (pixels a
   column at least); texts (a list of lists, or null); cells (a list
   of lists, or null: what a cell is called, where its row and its column do not say it); selected ([row, column] or null; row alone: [row, null]). */
const Matrix = (() => {
  const { make, number, dark } = Elements;

  function create(box, { onChoose = () => {}, onMove = () => {} } = {}) {
    box.classList.add("matrix-box");
    const view = make("div", "matrix-view", box);
    const scroller = make("div", "matrix-scroll", view);
    const frame = make("div", "matrix-frame", scroller);
    const rowLabels = make("div", "matrix-rows", frame);
    const plot = make("div", "matrix-plot", frame);
    const canvas = make("canvas", "matrix-canvas", plot);
    const marks = ["row", "column", "cell", "chosen"].map((kind) => make("div", `matrix-mark matrix-${kind}`, plot));
    make("div", "matrix-corner", frame);
    const columnLabels = make("div", "matrix-columns", frame);
    make("div", "matrix-fade", view);
    // A slider, since scroll bars are hidden on many systems: it is always there, and moves by whole columns.
    const beyond = make("label", "matrix-beyond", box);
    const slider = make("input", "", beyond);
    slider.type = "range";
    const which = make("span", "", beyond);
    const titles = make("div", "matrix-titles", box);
    const bar = make("div", "matrix-bar", box);
    const readout = make("p", "matrix-readout", box);
    readout.setAttribute("aria-live", "polite");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    const probe = make("span", "matrix-probe", box);
    let spec = null;
    let at = null;
    let shown = null;

    const place = (row) => (spec.upward ? spec.rows - 1 - row : row);
    const level = (row, column) => spec.levels[row * spec.columns + column];

    function said(row, column) {
      const found = level(row, column);
      if (found === spec.masked) return spec.maskedAs;
      if (found === spec.missing) return "not a number";
      if (spec.values) return number(spec.values[row * spec.columns + column]);
      const about = number(spec.low + ((spec.high - spec.low) * found) / spec.top);
      if (found === spec.top) return `${about} or more`;
      return found === 0 && spec.low < 0 ? `${about} or less` : `about ${about}`;
    }

    function say(parts) {
      readout.replaceChildren();
      for (const part of parts) make("bdi", "", readout).textContent = part;
    }

    const called = (row, column) => spec.cells?.[row][column] || "";

    function sentence(row, column) {
      if (called(row, column)) return [called(row, column), `: ${spec.name} ${said(row, column)}. `];
      const text = spec.texts ? [`${spec.texts[row][column]} `] : [];
      return [spec.rowNames[row], ` ${spec.verb} `, spec.columnNames[column], ": ", ...text, `${spec.name} ${said(row, column)}. `];
    }

    function strongest(row) {
      let best = -1;
      for (let column = 0; column < spec.columns; column += 1) {
        const found = level(row, column);
        if (found === spec.masked || found === spec.missing) continue;
        const size = (value) => Math.abs(spec.low + ((spec.high - spec.low) * value) / spec.top);
        if (best < 0 || size(found) > size(level(row, best))) best = column;
      }
      return best;
    }

    function set(mark, row, column) {
      const width = 100 / spec.columns;
      const height = 100 / spec.rows;
      mark.hidden = false;
      mark.style.left = column === null ? "0" : `${column * width}%`;
      mark.style.width = column === null ? "100%" : `${width}%`;
      mark.style.top = row === null ? "0" : `${place(row) * height}%`;
      mark.style.height = row === null ? "100%" : `${height}%`;
    }

    function cross() {
      const [ofRow, ofColumn, ofCell, ofChosen] = marks;
      for (const mark of marks) mark.hidden = true;
      if (at) {
        set(ofRow, at[0], null);
        set(ofColumn, null, at[1]);
        set(ofCell, at[0], at[1]);
      }
      if (spec.selected) set(ofChosen, spec.selected[0], spec.selected[1]);
    }

    function move(row, column) {
      at = [row, column];
      cross();
      say(sentence(row, column));
      onMove(row, column);
    }

    function resting() {
      at = null;
      cross();
      if (!spec.selected) return say([spec.resting]);
      const [row, column] = spec.selected;
      const best = strongest(row);
      const parts = column === null ? [] : sentence(row, column);
      if (best >= 0 && best !== column) {
        parts.push("Strongest in the row of ", spec.rowNames[row], ": ", called(row, best) || spec.columnNames[best], `, ${said(row, best)}.`);
      }
      return say(parts);
    }

    function pointed(event) {
      const area = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - area.left) / area.width) * spec.columns);
      const down = Math.floor(((event.clientY - area.top) / area.height) * spec.rows);
      if (column < 0 || down < 0 || column >= spec.columns || down >= spec.rows) return null;
      return [place(down), column];
    }

    canvas.addEventListener("mousemove", (event) => {
      const found = pointed(event);
      if (found && (!at || found[0] !== at[0] || found[1] !== at[1])) move(...found);
    });
    canvas.addEventListener("mouseleave", () => resting());
    canvas.addEventListener("click", (event) => {
      const found = pointed(event);
      if (!found) return;
      move(...found);
      onChoose(...found);
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const [row, column] = at ?? [spec.selected?.[0] ?? 0, spec.selected?.[1] ?? 0];
      const up = spec.upward ? 1 : -1;
      const far = event.shiftKey ? 8 : 1;
      const to = {
        ArrowLeft: [row, column - far], ArrowRight: [row, column + far],
        ArrowUp: [row + up * far, column], ArrowDown: [row - up * far, column],
        Home: [row, 0], End: [row, spec.columns - 1],
      }[event.key];
      const within = (value, count) => Math.min(count - 1, Math.max(0, value));
      if (to) move(within(to[0], spec.rows), within(to[1], spec.columns));
      else if (event.key === "Enter" || event.key === " ") onChoose(row, column);
      else return;
      event.preventDefault();
      if (to) reveal(at[1]);
    });

    function paint() {
      const { rows, columns } = spec;
      const palette = dark(box) ? spec.palettes.dark : spec.palettes.light;
      const small = document.createElement("canvas");
      [small.width, small.height] = [columns, rows];
      const image = new ImageData(columns, rows);
      for (let row = 0; row < rows; row += 1) {
        for (let column = 0; column < columns; column += 1) {
          const from = 4 * level(row, column);
          image.data.set(palette.subarray(from, from + 4), 4 * (place(row) * columns + column));
        }
      }
      small.getContext("2d").putImageData(image, 0, 0);
      const scale = window.devicePixelRatio || 1;
      const area = plot.getBoundingClientRect();
      canvas.width = Math.max(1, Math.min(16384, Math.round(area.width * scale)));
      canvas.height = Math.max(1, Math.min(16384, Math.round(area.height * scale)));
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = canvas.width < columns || canvas.height < rows; // fewer pixels than cells: none is lost
      pen.drawImage(small, 0, 0, canvas.width, canvas.height);
      hatch(pen);
      if (spec.texts) write(pen, palette, scale);
    }

    function hatch(pen) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 6;
      const line = tile.getContext("2d");
      line.strokeStyle = "rgba(128,128,128,0.35)";
      line.beginPath();
      for (const shift of [-6, 0, 6]) {
        line.moveTo(shift, 6);
        line.lineTo(shift + 6, 0);
      }
      line.stroke();
      pen.fillStyle = pen.createPattern(tile, "repeat");
      const [width, height] = [canvas.width / spec.columns, canvas.height / spec.rows];
      for (let row = 0; row < spec.rows; row += 1) {
        let start = -1;
        for (let column = 0; column <= spec.columns; column += 1) {
          const is = column < spec.columns && level(row, column) === spec.masked;
          if (is && start < 0) start = column;
          if (!is && start >= 0) {
            pen.fillRect(start * width, place(row) * height, (column - start) * width, height);
            start = -1;
          }
        }
      }
    }

    function write(pen, palette, scale) {
      const [width, height] = [canvas.width / spec.columns, canvas.height / spec.rows];
      const ground = getComputedStyle(box).getPropertyValue("--paper-rgb").split(",").map(Number);
      const page = ground.length === 3 ? ground : dark(box) ? [14, 17, 23] : [255, 255, 255];
      pen.font = `${11 * scale}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      const fits = Math.max(1, Math.floor((width - 6 * scale) / pen.measureText("m").width));
      for (let row = 0; row < spec.rows; row += 1) {
        for (let column = 0; column < spec.columns; column += 1) {
          const [r, g, b, a] = palette.subarray(4 * level(row, column), 4 * level(row, column) + 4);
          const [red, green, blue] = [r, g, b].map((part, index) => (part * a + page[index] * (255 - a)) / 255);
          pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#1b1b1f" : "#ffffff";
          const letters = [...spec.texts[row][column]];
          const text = letters.length > fits ? `${letters.slice(0, Math.max(1, fits - 1)).join("")}…` : letters.join("");
          // Isolates keep a right-to-left token from turning around what is beside it.
          pen.fillText(`\u2068${text}\u2069`, (column + 0.5) * width, (place(row) + 0.5) * height, width - 4 * scale);
        }
      }
    }

    function label(holder, labels, length, least, side, turned) {
      holder.replaceChildren();
      const every = Math.max(1, Math.ceil((labels.length * least) / Math.max(1, length)));
      for (let index = 0; index < labels.length; index += every) {
        const mark = make("bdi", "", holder);
        mark.textContent = labels[index];
        mark.style[side] = `${((turned ? place(index) : index) + 0.5) * (100 / labels.length)}%`;
      }
    }

    function legend() {
      bar.replaceChildren();
      const text = (className, words) => {
        make("span", className, bar).textContent = words;
      };
      text("", spec.name);
      const ends = spec.low < 0 ? ["− ", "+ "] : ["", ""];
      text("matrix-end", `${ends[0]}${number(Math.abs(spec.low))}`);
      const ramp = make("canvas", "matrix-ramp", bar);
      [ramp.width, ramp.height] = [spec.top + 1, 1];
      const palette = dark(box) ? spec.palettes.dark : spec.palettes.light;
      ramp.getContext("2d").putImageData(
        new ImageData(new Uint8ClampedArray(palette.subarray(0, 4 * (spec.top + 1))), spec.top + 1, 1), 0, 0,
      );
      text("matrix-end", `${ends[1]}${number(spec.high)}`);
      for (const note of spec.notes) text("matrix-note", note);
    }

    /* How many columns are in view, all of them whole. */
    function fitting() {
      if (!spec.least) return spec.columns; // they become as narrow as it takes
      return Math.max(1, Math.min(spec.columns, Math.floor((scroller.clientWidth - rowLabels.offsetWidth) / spec.least)));
    }

    /* Scroll as little as brings a column into view; to the middle, where the picture is new. */
    function reveal(column, fresh = false) {
      const wide = plot.offsetWidth / spec.columns;
      const fits = fitting();
      const first = Math.round(scroller.scrollLeft / wide);
      if (!fresh && column >= first && column < first + fits) return;
      const to = fresh ? column - Math.floor(fits / 2) : column < first ? column : column - fits + 1;
      scroller.scrollLeft = wide * to;
    }

    /* Say what lies beyond the edges. */
    function edges() {
      if (!spec) return;
      const wide = plot.offsetWidth / spec.columns;
      const fits = fitting();
      const first = Math.min(spec.columns - fits, Math.round(scroller.scrollLeft / wide));
      box.classList.toggle("matrix-more-left", scroller.scrollLeft > 1);
      box.classList.toggle("matrix-more-right", scroller.scrollLeft + scroller.clientWidth < scroller.scrollWidth - 1);
      beyond.hidden = fits === spec.columns;
      slider.max = spec.columns - fits;
      slider.value = first;
      which.textContent = `Columns ${first + 1} to ${first + fits} of ${spec.columns}; move the slider for the others.`;
    }

    function layout() {
      if (!spec) return;
      // As much room beside the matrix as the longest label needs, up to what a phone can spare.
      const longest = (labels) => Math.max(...labels.map((text) => text.length));
      rowLabels.style.width = `${Math.min(6.2, 0.5 * longest(spec.rowLabels) + 0.9)}em`;
      // Where not all columns fit, as many whole ones as do fill the view. The labels below share the column of the grid,
      // so that they scroll with the picture.
      const room = scroller.clientWidth - rowLabels.offsetWidth;
      const all = spec.least * spec.columns > room ? `${(spec.columns * room) / fitting()}px` : "minmax(0, 1fr)";
      frame.style.gridTemplateColumns = `max-content ${all}`;
      plot.style.aspectRatio = spec.square ? `${spec.columns} / ${spec.rows}` : "";
      plot.style.height = spec.square ? "" : `${spec.cell * spec.rows}px`;
      box.classList.toggle("matrix-square", spec.square);
      const area = plot.getBoundingClientRect();
      // Room for the longest label lying down: a letter is 6.6 pixels wide.
      const wide = Math.max(spec.least, spec.upright && !spec.texts ? 7 * longest(spec.columnLabels) + 8 : 22);
      columnLabels.style.setProperty("--wide", `${Math.max(wide, area.width / spec.columns) - 4}px`);
      columnLabels.classList.toggle("upright", spec.upright);
      label(rowLabels, spec.rowLabels, area.height, 13, "top", true);
      label(columnLabels, spec.columnLabels, area.width, spec.upright ? wide : 13, "left", false);
      legend();
      paint();
      cross();
      edges();
    }

    scroller.addEventListener("scroll", edges, { passive: true });
    slider.addEventListener("input", () => {
      scroller.scrollLeft = (plot.offsetWidth / spec.columns) * Number(slider.value);
    });
    const observer = new ResizeObserver(() => layout());
    observer.observe(scroller); // the plot follows it
    // A change of theme changes the colour of text, which a transition tells of.
    probe.addEventListener("transitionend", () => layout());

    return {
      update(next) {
        spec = next;
        const fresh = shown !== spec.fingerprint;
        shown = spec.fingerprint;
        titles.textContent = `${spec.rowTitle} ${spec.upward ? "↑" : "↓"}   ${spec.columnTitle} →`;
        canvas.setAttribute("aria-label", spec.alternative);
        layout();
        resting();
        const column = spec.selected?.[1];
        if (column != null) reveal(column, fresh);
      },
      /* Mark a cell, or with null a row, of what is drawn. */
      select(row, column) {
        spec.selected = [row, column];
        resting();
      },

      destroy() {
        observer.disconnect();
      },
    };
  }

  return { create };
})();
