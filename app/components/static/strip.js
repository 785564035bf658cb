/* From the tokens of workbench/app/components/strip.py to a strip, a page at a time. */
const { make, number } = Elements;

function build(box, choose) {
  const pages = make("div", "strip-pages", box);
  const ribbon = make("canvas", "strip-ribbon", pages);
  const turn = make("div", "strip-turn", pages);
  const back = make("button", "", turn);
  const where = make("span", "", turn);
  const forth = make("button", "", turn);
  for (const [button, text, name] of [[back, "←", "Tokens before"], [forth, "→", "Tokens after"]]) {
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", name);
  }
  const state = { first: 0, strip: make("div", "strip", box), data: null };
  const readout = make("p", "strip-readout", box);
  readout.setAttribute("aria-live", "polite");

  function describe(index) {
    const { tokens, reprs, ids, values, name } = state.data;
    const parts = [`${index} “${tokens[index]}”`];
    if (reprs[index] !== null) parts.push(` · ${reprs[index]}`);
    if (ids) parts.push(` · id ${ids[index]}`);
    if (values && values[index] !== null) parts.push(` · ${name} ${number(values[index])}`);
    readout.replaceChildren();
    for (const part of parts) make("bdi", "", readout).textContent = part;
  }

  function resting() {
    if (state.data.selected !== null) describe(state.data.selected);
    else readout.textContent = state.data.resting;
  }

  function drawRibbon() {
    const { values, most, tokens } = state.data;
    ribbon.width = Math.max(1, ribbon.clientWidth);
    ribbon.height = 18;
    const pen = ribbon.getContext("2d");
    pen.fillStyle = "rgba(128,128,128,0.18)";
    const scale = ribbon.width / tokens.length;
    pen.fillRect(state.first * scale, 0, Math.min(state.data.page, tokens.length - state.first) * scale, 18);
    for (let x = 0; values && x < ribbon.width; x += 1) {
      let best = 0;
      for (let t = Math.floor(x / scale); t <= Math.min(tokens.length - 1, Math.floor((x + 1) / scale)); t += 1) {
        if (values[t] !== null && Math.abs(values[t]) > Math.abs(best)) best = values[t];
      }
      const height = most > 0 ? 18 * Math.min(1, Math.abs(best) / most) : 0;
      pen.fillStyle = best > 0 ? "#D55E00" : "#0072B2";
      pen.fillRect(x, 18 - height, 1, height);
    }
  }

  /* Inside the strip only: the page itself must not jump. */
  function reveal() {
    const marked = state.strip.querySelector(".chosen");
    if (!marked || state.strip.scrollHeight <= state.strip.clientHeight) return;
    const top = marked.getBoundingClientRect().top - state.strip.getBoundingClientRect().top;
    if (top < 0 || top + marked.offsetHeight > state.strip.clientHeight) {
      state.strip.scrollTop += top - (state.strip.clientHeight - marked.offsetHeight) / 2;
    }
  }

  function show(first) {
    const { tokens, breaks, values, most, signed, selected, page } = state.data;
    state.first = first;
    // A new box a page: the listeners of the old one go with it.
    const strip = make("div", "strip");
    strip.setAttribute("role", "listbox");
    strip.setAttribute("aria-label", state.data.label);
    const last = Math.min(tokens.length, first + page);
    const elements = [];
    for (let index = first; index < last; index += 1) {
      const token = make("span", "tok", strip);
      token.setAttribute("role", "option");
      make("bdi", "", token).textContent = tokens[index];
      if (breaks[index]) make("br", "", strip);
      elements.push(token);
    }
    state.strip.replaceWith(strip);
    state.strip = strip;
    const linked = Strip.connect(strip, elements, {
      onMove: (at) => describe(first + at),
      onChoose: (at) => choose(first + at),
    });
    strip.addEventListener("mouseleave", resting);
    linked.paint(values ? values.slice(first, last).map((value) => (value === null ? NaN : value)) : null, most, signed);
    if (selected !== null && selected >= first && selected < last) {
      linked.mark(selected - first);
      linked.stand(selected - first);
    }
    pages.hidden = tokens.length <= page;
    where.textContent = `tokens ${first} to ${last - 1} of ${tokens.length}`;
    back.disabled = first === 0;
    forth.disabled = last >= tokens.length;
    if (!pages.hidden) drawRibbon();
  }

  back.addEventListener("click", () => show(Math.max(0, state.first - state.data.page)));
  forth.addEventListener("click", () => show(state.first + state.data.page));
  ribbon.addEventListener("click", (event) => {
    const share = event.offsetX / Math.max(1, ribbon.clientWidth);
    show(Math.floor((share * state.data.tokens.length) / state.data.page) * state.data.page);
  });

  state.update = (data) => {
    const focused = state.strip.contains(box.getRootNode().activeElement);
    const same = state.data && state.data.fingerprint === data.fingerprint;
    const chosen = !same || state.data.selected !== data.selected;
    const scrolled = state.strip.scrollTop;
    state.data = data;
    const page = data.selected === null ? 0 : Math.floor(data.selected / data.page) * data.page;
    show(!chosen || (same && data.selected === null) ? state.first : page);
    state.strip.scrollTop = scrolled;
    if (chosen) reveal();
    if (focused) state.strip.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
    resting();
  };
  return state;
}
