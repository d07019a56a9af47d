"""Formulas of a notebook's text as HTML of plain letters: slides load no typesetter and stay readable without one."""

import re
from html import escape

_COMMANDS = {
    **dict(alpha="α", beta="β", gamma="γ", delta="δ", epsilon="ε", varepsilon="ε", theta="θ", lambda_="λ", mu="μ"),
    **dict(pi="π", rho="ρ", sigma="σ", tau="τ", phi="φ", varphi="φ", omega="ω", eta="η", nu="ν"),
    **dict(Delta="Δ", Sigma="Σ", Omega="Ω", Lambda="Λ", Phi="Φ", Theta="Θ", Gamma="Γ"),
    **dict(top="⊤", intercal="⊤", times="×", cdot="·", pm="±", le="≤", leq="≤", ge="≥", geq="≥", neq="≠", ne="≠"),
    **dict(approx="≈", equiv="≡", propto="∝", to="→", rightarrow="→", mapsto="↦", infty="∞", partial="∂", nabla="∇"),
    **{"in": "∈"},
    **dict(notin="∉", sum="∑", prod="∏", odot="⊙", otimes="⊗", oplus="⊕", circ="∘", dagger="†", ast="∗", star="⋆"),
    **dict(ldots="…", dots="…", cdots="⋯", mid="|", vert="|", Vert="‖", ell="ℓ", forall="∀", exists="∃", cup="∪"),
    **dict(cap="∩", subset="⊂", langle="⟨", rangle="⟩", quad="  ", qquad="    ", lVert="‖", rVert="‖", lvert="|"),
    **dict(rvert="|", colon=":", mathbb_R="ℝ"),
}
_UPRIGHT = {"mathrm", "text", "operatorname", "mathbf", "boldsymbol", "mathit", "mathsf", "texttt", "bm", "textbf"}
_ACCENTS = {
    "hat": "\u0302",
    "widehat": "\u0302",
    "tilde": "\u0303",
    "widetilde": "\u0303",
    "bar": "\u0304",
    "overline": "\u0304",
    "vec": "\u20d7",
}
_SIZES = {"left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "displaystyle", "limits"}
_DOUBLE = {"R": "ℝ", "N": "ℕ", "Z": "ℤ", "E": "𝔼"}
_TOKEN = re.compile(r"\\([A-Za-z]+)\*?|\\(.)|([{}^_])|(\s+)|(.)", re.S)


def formula_html(formula: str) -> str:
    """HTML of a formula written in TeX: letters, ``<sub>`` and ``<sup>``; what is not known stays as it is, escaped.

    Examples
    --------
    >>> formula_html(r"A_c = W E^\\top \\in \\mathbb{R}^{K \\times P}")
    'A<sub>c</sub> = W E<sup>⊤</sup> ∈ ℝ<sup>K × P</sup>'
    """
    tokens = [match for match in _TOKEN.finditer(formula.strip())]
    return re.sub(
        r" {2,}", lambda spaces: "\u2003" if len(spaces[0]) > 3 else " ", "".join(_Reader(tokens).rest())
    ).strip()


class _Reader:
    """Reads tokens from left to right; a group or a command with its arguments is one item."""

    def __init__(self, tokens):
        self._tokens, self._at = tokens, 0

    def rest(self, until: str | None = None):
        while self._at < len(self._tokens):
            if until is not None and self._tokens[self._at][0] == until:
                self._at += 1
                return
            yield self._item()

    def _item(self) -> str:
        if self._at >= len(self._tokens):
            return ""
        token = self._tokens[self._at]
        command, escaped, mark, space, other = token.groups()
        self._at += 1
        if command is not None:
            return self._command(command)
        if escaped is not None:
            return {",": " ", ";": " ", ":": " ", "!": "", "\\": "<br>", "|": "‖", " ": " "}.get(
                escaped, escape(escaped)
            )
        if mark in ("^", "_"):
            name = "sup" if mark == "^" else "sub"
            return f"<{name}>{self._argument()}</{name}>"
        if mark == "{":
            return "".join(self.rest("}"))
        if mark == "}":
            return ""
        return " " if space else "&ensp;" if other == "&" else escape("−" if other == "-" else other)

    def _argument(self) -> str:
        while self._at < len(self._tokens) and self._tokens[self._at][0].isspace():
            self._at += 1
        return self._item()

    def _command(self, name: str) -> str:
        if name in _UPRIGHT:
            return self._argument()
        if name == "mathbb":
            letter = self._argument()
            return _DOUBLE.get(letter, letter)
        if name in _ACCENTS:
            inside = self._argument()
            return inside + _ACCENTS[name] if len(inside) == 1 else f'<span class="over">{inside}</span>'
        if name in ("frac", "tfrac", "dfrac"):
            above, below = (self._argument() for _ in range(2))
            return "/".join(part if part.isalnum() else f"({part})" for part in (above, below))
        if name == "sqrt":
            return f"√({self._argument()})"
        if name in _SIZES:
            return ""
        if name in ("begin", "end"):
            self._argument()
            return ""
        return _COMMANDS.get(name, _COMMANDS.get(f"{name}_", escape(name)))
