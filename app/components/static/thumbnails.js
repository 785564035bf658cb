/* From the bytes of workbench/app/components/thumbnails.py to small matrices beside each other; one is chosen by a click. */
function decode(bytes) {
  const { spec, next } = opened(bytes);
  spec.palettes = { light: next(1024), dark: next(1024) };
  spec.levels = spec.names.map(() => next(spec.rows * spec.columns));
  return spec;
}

function build(box, choose) {
  const { make, dark } = Elements;
  const list = make("div", "thumbnails", box);
  const probe = make("span", "thumbnails-probe", box);
  let spec = null;

  function paint() {
    if (!spec) return;
    const palette = dark(box) ? spec.palettes.dark : spec.palettes.light;
    list.querySelectorAll("canvas").forEach((canvas, at) => {
      [canvas.width, canvas.height] = [spec.columns, spec.rows];
      const image = new ImageData(spec.columns, spec.rows);
      spec.levels[at].forEach((level, place) => image.data.set(palette.subarray(4 * level, 4 * level + 4), 4 * place));
      canvas.getContext("2d").putImageData(image, 0, 0);
    });
  }

  // A change of theme changes the colour of text, which a transition tells of.
  probe.addEventListener("transitionend", paint);

  return {
    update(next) {
      const focused = [...list.children].indexOf(box.getRootNode().activeElement);
      spec = next;
      list.replaceChildren();
      spec.names.forEach((name, at) => {
        const button = make("button", "thumbnail", list);
        button.type = "button";
        button.setAttribute("aria-pressed", String(at === spec.chosen));
        make("canvas", "", button);
        make("bdi", "", button).textContent = name;
        make("span", "", button).textContent = spec.notes[at];
        button.addEventListener("click", () => choose(at));
      });
      list.setAttribute("role", "group");
      list.setAttribute("aria-label", spec.label);
      if (focused >= 0) list.children[focused]?.focus({ preventScroll: true });
      paint();
    },
  };
}
