/* From the rows of workbench/app/components/rows.py to a list. */
const { make } = Elements;

function build(box, choose) {
  const list = make("div", "rows", box);
  const state = { list, at: -1, data: null };

  function items() {
    return [...list.querySelectorAll('[role="option"]')];
  }

  function stand(at) {
    const all = items();
    if (!all.length) return;
    state.at = Math.max(0, Math.min(all.length - 1, at));
    all.forEach((item, place) => { item.tabIndex = place === state.at ? 0 : -1; });
  }

  list.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };
    if (event.key in steps) {
      stand(state.at + steps[event.key]);
      items()[state.at]?.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      items()[state.at]?.click();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });

  state.update = (data) => {
    const focused = list.contains(box.getRootNode().activeElement);
    const same = state.data && state.data.fingerprint === data.fingerprint;
    const scrolled = list.scrollTop;
    state.data = data;
    list.replaceChildren();
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", data.label);
    list.style.maxHeight = data.height === null ? "" : `${data.height}px`;
    list.style.gridTemplateColumns = data.heads.map((_, n) => (n === 1 ? "minmax(0, 1fr)" : "auto")).join(" ");
    const head = make("div", "row head", list);
    head.setAttribute("aria-hidden", "true");
    for (const name of data.heads) make("span", "", head).textContent = name;
    data.rows.forEach(([number, cells], place) => {
      const item = make("div", "row", list);
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(number === data.chosen));
      item.dataset.number = number;
      cells.forEach((cell, n) => {
        const kind = n === 1 ? (data.soft.includes(number) ? "name soft" : "name") : "";
        make("bdi", kind, make("span", n === 1 ? "wide" : "", item)).textContent = cell;
      });
      item.addEventListener("click", () => { stand(place); choose(place); });
    });
    const chosen = data.rows.findIndex(([number]) => number === data.chosen);
    stand(chosen >= 0 ? chosen : 0);
    list.scrollTop = same ? scrolled : 0;
    const marked = chosen >= 0 ? items()[chosen] : null;
    if (marked) {
      // Inside the list only: the page itself must not jump.
      const top = marked.offsetTop - list.offsetTop;
      const room = list.clientHeight - marked.offsetHeight;
      if (top < list.scrollTop + marked.offsetHeight || top > list.scrollTop + room) list.scrollTop = top - room / 2;
    }
    if (focused) items()[state.at]?.focus({ preventScroll: true });
  };
  return state;
}
