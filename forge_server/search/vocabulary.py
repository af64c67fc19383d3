"""Words for what stands in ``forge.toml`` as a code, in the languages of the country: who looks for
"jeu de données", "بيانات" or "arabe" means a kind or a language. And words that say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .folding import split

_KINDS: Final = {
    "model": "model modèle نموذج نماذج ⴰⵏⴰⵡ",
    "library": "library bibliothèque logicielle مكتبة ⵜⴰⵙⴷⵍⵉⵙⵜ",
    "dataset": "dataset data corpus jeu de données بيانات مجموعة ⵉⵙⴼⴽⴰ",
    "prompt": "prompt invite consigne تعليمات",
    "policy": "policy politique règles d'usage سياسة قواعد ⵜⴰⵙⵔⵜⵉⵜ",
}
_LANGUAGES: Final = {
    "ar": "arabic arabe العربية عربي ⵜⴰⵄⵔⴰⴱⵜ",
    "arb": "arabic arabe العربية عربي ⵜⴰⵄⵔⴰⴱⵜ",
    "ary": "darija moroccan arabic arabe marocain الدارجة المغربية ⵜⴰⴷⴰⵔⵉⵊⵜ",
    "fr": "french français الفرنسية ⵜⴰⴼⵔⴰⵏⵙⵉⵙⵜ",
    "en": "english anglais الإنجليزية ⵜⴰⵏⴳⵍⵉⵣⵜ",
    "es": "spanish espagnol الإسبانية",
    "zgh": "tamazight amazigh berber amazighe الأمازيغية ⵜⴰⵎⴰⵣⵉⵖⵜ",
    "ber": "tamazight amazigh berber amazighe الأمازيغية ⵜⴰⵎⴰⵣⵉⵖⵜ",
    "shi": "tachelhit tashelhit chleuh تشلحيت ⵜⴰⵛⵍⵃⵉⵜ",
    "rif": "tarifit rifain الريفية ⵜⴰⵔⵉⴼⵉⵜ",
    "tzm": "tamazight atlas الأطلس ⵜⴰⵎⴰⵣⵉⵖⵜ",
    "mey": "hassaniya الحسانية",
}
_TASKS: Final = {
    "translation": "traduction ترجمة",
    "text-classification": "classification de textes تصنيف النصوص",
    "text-generation": "génération de texte توليد النصوص",
    "summarization": "résumé automatique تلخيص",
    "automatic-speech-recognition": "reconnaissance de la parole التعرف على الكلام",
    "text-to-speech": "synthèse vocale تحويل النص إلى كلام",
    "question-answering": "réponse aux questions الإجابة عن الأسئلة",
    "image-classification": "classification d'images تصنيف الصور",
    "object-detection": "détection d'objets كشف الأجسام",
    "token-classification": "reconnaissance d'entités التعرف على الكيانات",
    "language-identification": "identification de la langue تحديد اللغة",
    "optical-character-recognition": "OCR reconnaissance de caractères التعرف على الحروف",
}
_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "kind": _KINDS, "language": _LANGUAGES, "task": _TASKS,
}  # fmt: skip
NOTHING_SAID: Final = frozenset(
    word
    for word, _ in split(
        "a an and at by de des du d en et for from in l la le les of on or ou par pour sur the to "
        "un une with في من على عن إلى و أو مع ⵏ ⵙ ⴳ"
    )
)
"""Folded words that are left out of a question that has others."""


def words_for(facet: str, values: Iterable[str]) -> Iterator[str]:
    """The words for those of ``values`` that are known here."""
    known = _OF[facet]
    for value in values:
        words = known.get(value) or known.get(value.partition("-")[0])
        if words is not None:
            yield words
