"""A registry with something to look at: organisations of several regions and kinds, the two example
components with their cards in four languages, and some three dozen multilingual ones, signed and
published as anybody would."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server_fixtures import Client, World, entry
from sqlalchemy import update

from forge_server.app import create_app
from forge_server.db.models import Release, Role
from signing.applications import sign_application
from signing.component import parse_forge_toml
from signing.manifest import build_manifest
from signing.profile import OrgProfile
from signing.role_edits import add_organisation, new_role

EXAMPLES = Path(__file__).parents[1] / "examples"


def png(width: int = 240, height: int = 60) -> bytes:
    """A picture in one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x0b\x5d\x4e" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """An organisation as it applies."""

    name: str
    kind: str
    display_name: str
    region: str | None = None
    names: Mapping[str, str]
    contact: str | None = None

    @property
    def profile(self) -> OrgProfile:
        return OrgProfile(
            kind=self.kind, display_name=self.display_name, region=self.region,
            names=self.names, contact=self.contact,
        )  # fmt: skip


BODIES = (
    Body(
        name="digital-agency", kind="government", display_name="Agence de développement du digital",
        region="MA-04", contact="ia@digital-agency.example",
        names={"ar": "وكالة التنمية الرقمية", "fr": "Agence de développement du digital",
               "zgh": "ⵜⴰⵙⵓⵜⵍⵜ ⵏ ⵓⵙⴱⵓⵖⵍⵓ ⴰⵏⵓⵟⵟⵓⵏ", "en": "Digital Development Agency"},
    ),
    Body(
        name="minds-lab", kind="startup", display_name="Minds Lab", region="MA-06",
        names={"ar": "مختبر العقول", "en": "Minds Lab"}, contact="contact@minds-lab.example",
    ),
    Body(
        name="amazigh-institute", kind="academic", display_name="Institut de la langue amazighe",
        region="MA-09",
        names={"ar": "معهد اللغة الأمازيغية", "zgh": "ⴰⵙⵉⵏⴰⴳ ⵏ ⵜⵓⵜⵍⴰⵢⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ"},
    ),
    Body(
        name="casa-mobility", kind="company", display_name="Casa Mobilité", region="MA-06",
        names={"ar": "تنقل الدار البيضاء"}, contact="+212 522 000 000",
    ),
    Body(name="atlas-health", kind="startup", display_name="Atlas Santé", names={}),
)  # fmt: skip

# (organisation, name, kind, summary, languages, tasks, risk, licence, bytes of the weights)
_PLAIN: Sequence[tuple[str, str, str, str, list[str], list[str], str | None, str, int]] = (
    ("digital-agency", "arabic-ocr", "model", "التعرّف الضوئي على الحروف في الوثائق الإدارية",
     ["ar"], ["image-to-text"], "limited", "EUPL-1.2", 90_000),
    ("digital-agency", "form-router", "model", "Oriente une demande vers le guichet compétent",
     ["fr", "ar"], ["text-classification"], "limited", "Apache-2.0", 20_000),
    ("digital-agency", "address-parser", "library", "Lit les adresses marocaines",
     ["fr", "ar"], ["token-classification"], "minimal", "MIT", 4_000),
    ("digital-agency", "open-forms", "dataset", "نماذج إدارية مفتوحة وقابلة لإعادة الاستعمال",
     ["ar", "fr"], [], None, "CC-BY-4.0", 60_000),
    ("minds-lab", "darija-asr", "model", "Speech recognition for Darija", ["ary"],
     ["automatic-speech-recognition"], "limited", "Apache-2.0", 150_000),
    ("minds-lab", "darija-chat-prompt", "prompt", "kif t3awn nass b darija: system prompt",
     ["ary-Latn"], ["text-generation"], "limited", "CC-BY-4.0", 300),
    ("minds-lab", "sentence-embedder", "model", "Sentence vectors for Arabic, French and Tamazight",
     ["ar", "fr", "zgh"], ["feature-extraction"], None, "Apache-2.0", 120_000),
    ("amazigh-institute", "tifinagh-ocr", "model", "ⴰⵙⵙⵏ ⵏ ⵉⵙⴽⴽⵉⵍⵏ ⵏ ⵜⵉⴼⵉⵏⴰⵖ ⴳ ⵜⵡⵍⴰⴼⵉⵏ",
     ["zgh"], ["image-to-text"], "minimal", "EUPL-1.2", 70_000),
    ("amazigh-institute", "amazigh-corpus", "dataset", "ⴰⵎⵓⴷ ⵏ ⵉⴹⵔⵉⵙⵏ ⵏ ⵜⵎⴰⵣⵉⵖⵜ",
     ["zgh", "zgh-Latn"], [], None, "CC-BY-SA-4.0", 200_000),
    ("amazigh-institute", "transliterator", "library", "Tifinagh ↔ latin ↔ arabe",
     ["zgh", "zgh-Latn"], ["translation"], "minimal", "MIT", 3_000),
    ("casa-mobility", "bus-arrival", "model", "Prévoit l’heure d’arrivée des bus", ["fr"],
     ["time-series-forecasting"], "minimal", "Apache-2.0", 15_000),
    ("casa-mobility", "traffic-2025", "dataset", "عدّ المركبات في شوارع الدار البيضاء سنة 2025",
     ["ar"], [], None, "ODbL-1.0", 90_000),
    ("atlas-health", "triage-notes", "model", "Orders emergency notes by urgency",
     ["fr"], ["text-classification"], "high", "LicenseRef-Atlas", 25_000),
    ("atlas-health", "drug-names", "dataset", "أسماء الأدوية المرخّصة", ["ar", "fr"], [], None,
     "CC-BY-4.0", 8_000),
)  # fmt: skip

CARD = """# {name}

{summary}

![picture](images/picture.png) ![elsewhere](https://elsewhere.example/x.png)

| measure | value |
|:--------|------:|
| accuracy | 0.93 |

```sh
forge install {org}/{name}
```

More in [the licence](LICENSE.txt), on [the web](https://example.org/) and in
[another language](README.fr.md).
"""


@dataclass
class Showcase:
    world: World
    client: Client

    def organisation(self, body: Body) -> None:
        key, clock = self.world.key(body.name), self.world.clock
        application = sign_application(
            body.name, body.kind, body.display_name, [key], 1, clock(),
            region=body.region, names=body.names, contact=body.contact,
        )  # fmt: skip
        role = new_role([key], clock(), "organisation")
        self.client.post(
            "/api/v1/applications",
            {"application": application.decode(), "role": role.decode()},
            expect=201,
        )
        registrar = add_organisation(
            self.world.registry.roles.current("registrar"), body.name, body.profile, [key.public],
            1, [self.world.authority_key("registrar")], clock(),
        )  # fmt: skip
        self.client.post("/api/v1/roles", {"roles": {"registrar": registrar.decode()}}, expect=200)

    def publish(self, files: Mapping[str, bytes]) -> str:
        """Publishes a tree; returns ``org/name``."""
        spec = parse_forge_toml(files["forge.toml"])
        manifest = build_manifest(spec, [entry(path, data) for path, data in files.items()])
        built = self.world.signed(manifest, dict(files), self.world.key(spec.component.org))
        self.client.publish(built)
        return str(spec.component)

    def example(self, name: str) -> str:
        folder = EXAMPLES / name
        return self.publish(
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file() and "__pycache__" not in path.parts
            }
        )


def tree(
    organisation: str, name: str, kind: str, summary: str, *, version: str = "1.0.0",
    languages: Sequence[str] = (), tasks: Sequence[str] = (), risk: str | None = None,
    licence: str = "Apache-2.0", weight: int = 500, card: str = CARD,
    translations: Mapping[str, str] | None = None, requires: str = "",
) -> dict[str, bytes]:  # fmt: skip
    """The files of a component."""
    text = json.dumps(summary, ensure_ascii=False)
    toml = (
        f'[component]\norg = "{organisation}"\nname = "{name}"\nversion = "{version}"\n'
        f'kind = "{kind}"\nsummary = {text}\nlicense = "{licence}"\ncard = "README.md"\n'
        f"languages = {json.dumps(list(languages))}\ntasks = {json.dumps(list(tasks))}\n{requires}"
    )
    if risk is not None:
        toml += f'[risk]\nclass = "{risk}"\nrationale = "See the card: what it is for."\n'
    body = card.replace("{org}", organisation).replace("{name}", name)
    return {
        "forge.toml": toml.encode(),
        "README.md": body.replace("{summary}", summary).encode(),
        **{f"README.{at}.md": each.encode() for at, each in (translations or {}).items()},
        "LICENSE.txt": b"The licence\n",
        "images/picture.png": png(),
        "weights.bin": bytes(weight),
    }


def build(world: World) -> Showcase:
    """Fills ``world``. One component is old in translation, one version withdrawn, one expired."""
    client = Client(create_app(world.registry).test_client(), world.user("sara"))
    show = Showcase(world, client)
    for body in BODIES:
        show.organisation(body)
    show.example("lid-runtime")
    show.example("darija-lid")
    for organisation, name, kind, summary, languages, tasks, risk, licence, weight in _PLAIN:
        show.publish(
            tree(
                organisation, name, kind, summary, languages=languages, tasks=tasks, risk=risk,
                licence=licence, weight=weight,
            )
        )  # fmt: skip
    for number in range(20):
        show.publish(
            tree(
                "minds-lab", f"keyword-spotter-{number:02}", "model",
                f"Keywords of dialect {number} in short recordings", languages=["ary"],
                tasks=["audio-classification"], weight=1000 * number + 1,
            )
        )  # fmt: skip
    translations = {
        "ar": "# محلّل الأسماء\n\nيقرأ الأسماء المغربية.",
        "fr": "# Noms\n\nLit les noms.",
    }
    show.publish(
        tree("digital-agency", "name-parser", "library", "Reads Moroccan names", version="1.0.0",
             translations=translations)
    )  # fmt: skip
    show.publish(
        tree("digital-agency", "name-parser", "library", "Reads Moroccan names", version="1.1.0",
             translations=translations, card=CARD + "\nNow with patronyms.\n",
             requires='[requires]\n"digital-agency/address-parser" = ">=1,<2"\n'
             '"digital-agency/open-forms" = ">=1"\n')
    )  # fmt: skip
    _age(world)
    world.registry.index.refresh()
    return show


def _age(world: World) -> None:
    """Withdraws a version and lets the roles of a component end, past everything that would sign
    them anew."""
    with world.registry.database.write() as session:
        session.execute(
            update(Release)
            .where(Release.role == "casa-mobility.bus-arrival")
            .values(yanked="Wrong on feast days; use traffic-2025 and count yourself")
        )
        session.execute(
            update(Role)
            .where(Role.name == "atlas-health.triage-notes")
            .values(expires_at=world.clock().replace(year=2020))
        )
