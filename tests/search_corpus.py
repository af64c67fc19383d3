"""What a registry of the country might hold, and which component somebody must find first.

One table for both databases: whoever changes a rule of folding sees here whom it helps or harms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A component to be published; ``cards`` by file name."""

    name: str
    summary: str
    kind: str = "model"
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    risk: str | None = None
    cards: Mapping[str, str] = field(default_factory=dict)
    file: str = "weights.safetensors"
    size: int = 1000

    def toml(self, org: str, version: str = "1.0.0") -> bytes:
        """The ``forge.toml`` of a release."""
        lines = [
            "[component]",
            *(f'{key} = "{value}"' for key, value in (
                ("org", org), ("name", self.name), ("version", version), ("kind", self.kind),
                ("license", self.licence),
            )),
            f"summary = {json.dumps(self.summary, ensure_ascii=False)}",
            f"languages = {json.dumps(self.languages)}",
            f"tasks = {json.dumps(self.tasks)}",
        ]  # fmt: skip
        if self.cards:
            lines.append('card = "README.md"')
        if self.risk:
            lines += ["[risk]", f'class = "{self.risk}"', 'rationale = "as it is used"']
        return "\n".join(lines).encode()

    def files(self) -> dict[str, bytes]:
        """The other files of a release."""
        return {self.file: b"w" * self.size, **{k: v.encode() for k, v in self.cards.items()}}


ITEMS = (
    Item(
        name="darija-lid", languages=("ary", "zgh", "ar", "fr"), tasks=("text-classification",),
        summary="Language identification for Darija, Tamazight, Arabic and French", risk="minimal",
        cards={
            "README.md": "# Language identification\n\nSays which language a text is in.\n",
            "README.ar.md": "# التعرّف على لغة النص\n\nيحدّد لغة النص بين الدارجة والأمازيغية.\n",
            "README.fr.md": "# Identification de la langue\n\nDit dans quelle langue on écrit.\n",
        },
    ),
    Item(
        name="tarjama-amz", languages=("ar", "zgh"), tasks=("translation",), risk="limited",
        summary="نموذج التَّرجمة الآليّة من العربيّة إلى الأمازيغيّة", size=20_000,
    ),
    Item(name="sante-codes", summary="Codage des diagnostics hospitaliers", languages=("fr",),
         tasks=("text-classification",), risk="high"),
    Item(name="shifa-notes", summary="تلخيص الملفات الطبية لوزارة الصحة", languages=("ar",),
         tasks=("summarization",)),
    Item(name="idara-chat", summary="مساعد المواطن في الإدارة العمومية", languages=("ar", "ary")),
    Item(name="hukuma-forms", summary="استخراج الحقول من استمارات الحكومة", kind="dataset",
         file="forms.parquet"),
    Item(name="qanun-corpus", summary="نصوص القانون والجريدة الرسمية", kind="dataset",
         licence="CC-BY-4.0", file="laws.jsonl", languages=("ar", "fr")),
    Item(name="awal-tts", summary="ⴰⵙⴰⵡⴰⵍ ⵏ ⵜⵓⵜⵍⴰⵢⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ", languages=("zgh",),
         tasks=("text-to-speech",)),
    Item(name="tussna-qa", summary="ⵜⵓⵙⵙⵏⴰ ⴷ ⵓⵙⵍⵎⴷ ⴳ ⵜⵉⵏⵎⵍ", languages=("zgh",)),
    Item(name="ocr-tifinagh", summary="Reads printed and handwritten ⵜⵉⴼⵉⵏⴰⵖ", languages=("zgh",),
         tasks=("optical-character-recognition",)),
    Item(name="chat-darija", summary="chatbot kayjawb b darija 3la so2alat l7okouma",
         languages=("ary",)),
    Item(name="telmid-helper", summary="mosa3id l talamid f qraya dyal riyadiyat",
         languages=("ary",)),
    Item(name="recolte-cereales", summary="Prévision de la récolte céréalière par région",
         licence="EUPL-1.2", tasks=("time-series-forecasting",)),
    Item(name="eau-barrages", summary="Niveau des barrages et ressources en eau", kind="dataset",
         file="levels.csv"),
    Item(name="detection-fraude", summary="Détection d'anomalies dans les marchés publics",
         risk="high"),
    Item(name="whisper-ma", summary="Speech recognition for Moroccan radio and parliament",
         tasks=("automatic-speech-recognition",), languages=("ary", "fr"), size=300_000),
    Item(name="plate-reader", summary="Reads number plates of vehicles",
         tasks=("object-detection",), file="model.onnx"),
    Item(name="tokenizer-ar", summary="Subword tokenizer for Arabic", kind="library",
         languages=("ar",), file="tokenizer_ar-1.0-py3-none-any.whl"),
    Item(name="embeddings", summary="Sentence embeddings in four languages",
         languages=("ar", "fr", "zgh", "en"), file="model.gguf"),
    Item(name="embeddings-small", summary="A smaller embeddings model, distilled"),
    Item(name="classification-textes", summary="Classe les courriers des citoyens",
         languages=("fr",), tasks=("text-classification",)),
    Item(name="prompts-admin", summary="Consignes pour rédiger des courriers administratifs",
         kind="prompt", file="prompts.txt"),
)  # fmt: skip

FIRST_HITS = (
    # An exact name comes first, however it is written
    ("darija-lid", "darija-lid"),
    ("Darija LID", "darija-lid"),
    ("DARIJA_LID", "darija-lid"),
    ("minds-lab/embeddings", "embeddings"),
    ("embeddings", "embeddings"),
    ("embeddings small", "embeddings-small"),
    # Arabic: vowel signs, tatweel, alef and hamza, ta marbuta, alef maqsura, the article, digits
    ("الترجمة الآلية", "tarjama-amz"),
    ("ترجمه اليه", "tarjama-amz"),
    ("تَرْجَمَة", "tarjama-amz"),
    ("تــرجمــة", "tarjama-amz"),
    ("ترجمات", "tarjama-amz"),
    ("الاداره", "idara-chat"),
    ("إدارة", "idara-chat"),
    ("أداره العموميه", "idara-chat"),
    ("وزارة الصحة", "shifa-notes"),
    ("صحه", "shifa-notes"),
    ("وللصحة", "shifa-notes"),
    ("القانون", "qanun-corpus"),
    ("الجريده الرسميه", "qanun-corpus"),
    ("التعرف على لغة النص", "darija-lid"),
    ("لغه النص", "darija-lid"),
    # Arabizi, to Arabic and back
    ("sa7a", "shifa-notes"),
    ("wizarat sa7a", "shifa-notes"),
    ("7okouma", "hukuma-forms"),
    ("9anoun", "qanun-corpus"),
    ("2idara", "idara-chat"),
    ("tarjama", "tarjama-amz"),
    ("tarjma", "tarjama-amz"),
    ("talkhis", "shifa-notes"),
    ("tal5is", "shifa-notes"),
    ("تلاميذ", "telmid-helper"),
    ("رياضيات", "telmid-helper"),
    ("حكومة", "hukuma-forms"),
    ("mosa3id 3omomiya", "idara-chat"),
    # Tifinagh and Latin
    ("ⴰⵡⴰⵍ", "awal-tts"),
    ("tutlayt", "awal-tts"),
    ("tussna", "tussna-qa"),
    ("ⵜⵓⵙⵙⵏⴰ", "tussna-qa"),
    ("toussna", "tussna-qa"),
    ("tifinagh", "ocr-tifinagh"),
    ("tifinaɣ", "ocr-tifinagh"),
    ("ⵜⵉⴼⵉⵏⴰⵖ", "ocr-tifinagh"),
    ("ⵜⴰⵔⵊⴰⵎⴰ", "tarjama-amz"),
    # French: accents, plurals, elision
    ("recolte cerealiere", "recolte-cereales"),
    ("RÉCOLTE", "recolte-cereales"),
    ("récoltes", "recolte-cereales"),
    ("ressources en eau", "eau-barrages"),
    ("barrage", "eau-barrages"),
    ("détection d'anomalies", "detection-fraude"),
    ("detection anomalie", "detection-fraude"),
    ("marché public", "detection-fraude"),
    ("courrier administratif", "prompts-admin"),
    # Slips of the finger
    ("embedings", "embeddings"),
    ("embedding", "embeddings"),
    ("tokeniser", "tokenizer-ar"),
    ("recoltte", "recolte-cereales"),
    ("barages", "eau-barrages"),
    ("tifinahg", "ocr-tifinagh"),
    ("parliment radio", "whisper-ma"),
    ("hospitalliers", "sante-codes"),
    ("الحكومه استماراة", "hukuma-forms"),
    ("vehicules plates", "plate-reader"),
    # Beginnings of words, several words in any order, codes by their names
    ("whisp", "whisper-ma"),
    ("radio moroccan", "whisper-ma"),
    ("number plates", "plate-reader"),
    ("jeu de données barrages", "eau-barrages"),
    ("bibliothèque arabe", "tokenizer-ar"),
    ("reconnaissance de la parole", "whisper-ma"),
    ("synthèse vocale", "awal-tts"),
)  # fmt: skip
"""``(what is typed, name of the first hit)``"""

NO_HITS = ("xyzzyqq", '"*()', "NEAR(", "' OR 1=1 --", "\x00\x01\x02", "%", "_", "٪؟")
"""Nothing may be found, and nothing may fail."""

SUGGESTED = (
    ("tarjama xyzzyqq", "minds-lab/tarjama-amz"),
    ("qqqq ترجمة", "minds-lab/tarjama-amz"),
    ("darija plates", "minds-lab/darija-lid"),
)
"""``(what is typed, a name that is offered where not every word is found)``"""
