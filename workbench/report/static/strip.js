/* A text as a strip of tokens that take colours and are walked through by keys. The tokens are elements that exist
   already: a report has them without any script. Needs elements.js. */
const Strip = (() => {
  const POSITIVE = "213,94,0";
  const NEGATIVE = "0,114,178";
  const STRONGEST = 0.6; // opacity: text on it stays readable in both themes
  const MARKED = 0.25; // share of the strongest from which on a sign is written beside the colour

  /* Links a box with tokens. `onMove(index)` is told where the pointer or the keys are, `onChoose(index)` of a click
     or Enter. */
  function connect(box, tokens, { onMove = () => {}, onChoose = () => {} }) {
    let at = 0;

    function stand(index, focus) {
      tokens[at]?.setAttribute("tabindex", "-1");
      at = Math.min(tokens.length - 1, Math.max(0, index));
      tokens[at]?.setAttribute("tabindex", "0");
      if (!focus) return;
      tokens[at].focus({ preventScroll: true });
      tokens[at].scrollIntoView({ block: "nearest" });
      onMove(at);
    }

    tokens.forEach((token, index) => {
      token.setAttribute("tabindex", "-1");
      token.addEventListener("mouseenter", () => onMove(index));
      token.addEventListener("click", () => {
        stand(index, false);
        onChoose(index);
      });
    });
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const last = tokens.length - 1;
      const to = {
        ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last,
      }[event.key];
      if (to !== undefined) stand(to, true);
      else if (event.key === "Enter" || event.key === " ") onChoose(at);
      else return;
      event.preventDefault();
    });
    stand(0, false);

    return {
      stand: (index) => stand(index, false),

      /* `values`: one a token, NaN for none; `most`: the size that is fully coloured. */
      paint(values, most, signed) {
        tokens.forEach((token, index) => {
          const value = values ? values[index] : NaN;
          token.classList.remove("plus", "minus");
          token.style.backgroundColor = "";
          if (!Number.isFinite(value) || value === 0 || !(most > 0)) return;
          const share = Math.min(1, Math.abs(value) / most);
          token.style.backgroundColor = `rgba(${value > 0 ? POSITIVE : NEGATIVE},${(STRONGEST * share).toFixed(3)})`;
          if (signed && share > MARKED) token.classList.add(value > 0 ? "plus" : "minus");
        });
      },

      mark(chosen) {
        tokens.forEach((token, index) => {
          token.classList.toggle("chosen", index === chosen);
          if (index === chosen) token.setAttribute("aria-selected", "true");
          else token.removeAttribute("aria-selected");
        });
      },
    };
  }

  return { connect };
})();
