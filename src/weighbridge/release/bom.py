"""The bill of materials: CycloneDX 1.6, one machine-learning model with every file in it. Pure but for its library.

The library models components, licences and hashes; the model card of the standard it does not, so that part is written
here, in the standard's own words, and tests validate the whole against the standard's schema. The same release gives
the same bytes: the serial number derives from the decision.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from weighbridge import canonical
from weighbridge.release.described import Described
from weighbridge.times import format_time
from weighbridge.verdicts import Verdict

SPEC_VERSION = "1.6"
_NAMESPACE = uuid.UUID("6f1d9b0e-54b6-5a0e-9a35-0f0d2c1c9a7e")
_REF = "model"

# Families of ours that SPDX lists, by their ids there.
_SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
}


def make_bom(release: Described) -> bytes:
    """The bytes of the bill of materials, canonical JSON."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.model.tool import Tool
    from cyclonedx.output.json import JsonV1Dot6

    decision = release.decision
    files = [
        Component(
            type=ComponentType.FILE,
            bom_ref=f"file:{file.path}",
            name=file.path,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
            properties=[Property(name="weighbridge:size", value=str(file.size))],
        )
        for file in [*decision.manifest.files, *release.artifacts]
    ]
    parents = release.licence.parents if release.licence is not None else ()
    ancestors = [
        Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"parent:{index}",
            name=parent.model,
            properties=[
                Property(name="weighbridge:relation", value=parent.relation or "unknown"),
                Property(name="weighbridge:license", value=parent.license or "unknown"),
            ],
        )
        for index, parent in enumerate(parents)
    ]
    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=_REF,
        name=release.record.name,
        version=decision.checkpoint,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=decision.checkpoint.removeprefix("sha256:"))],
        licenses=_licences(release),
        components=files,
        pedigree=Pedigree(ancestors=ancestors) if ancestors else None,
        properties=[Property(name=name, value=value) for name, value in _properties(release)],
    )
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, decision.id))
    bom.metadata.timestamp = release.record.released_at
    bom.metadata.tools.tools.add(Tool(name="weighbridge", version=release.record.producer))
    bom.metadata.component = model
    value = json.loads(JsonV1Dot6(bom).output_as_string())
    value["metadata"]["component"]["modelCard"] = _model_card(release)
    return canonical.dumps(value)


def _licences(release: Described) -> list[Any]:
    from cyclonedx.model import XsUri
    from cyclonedx.model.license import DisjunctiveLicense

    licence = release.licence
    if licence is None or licence.id is None:
        return []
    url = XsUri(licence.link) if licence.link else None
    if licence.id in _SPDX:
        return [DisjunctiveLicense(id=_SPDX[licence.id], url=url)]
    return [DisjunctiveLicense(name=licence.name or licence.id, url=url)]


def _properties(release: Described) -> list[tuple[str, str]]:
    decision = release.decision
    properties = [
        ("weighbridge:decision", decision.id),
        ("weighbridge:policy", decision.policy.digest),
        ("weighbridge:tier", decision.tier),
        ("weighbridge:expires_at", format_time(decision.expires_at)),
    ]
    facts = release.facts
    for fact, value in (("parameters", facts.parameters), ("context", facts.context), ("dtype", facts.dtype)):
        if value is not None:
            properties.append((f"weighbridge:{fact}", str(value)))
    if decision.origin is not None:
        name, sha256 = decision.origin.get("name"), decision.origin.get("sha256")
        properties.append(("weighbridge:origin", f"{name} sha256:{sha256}"))
    if release.judgement.notice:
        properties.append(("weighbridge:notice", release.judgement.notice))
    return properties


def _model_card(release: Described) -> dict[str, Any]:
    """The standard's ``modelCard``: parameters, results with intervals, limits."""
    facts = release.facts
    card: dict[str, Any] = {
        "modelParameters": {
            "task": "text-generation",
            "architectureFamily": facts.model_type,
            "modelArchitecture": facts.architecture or facts.model_type,
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "considerations": {"technicalLimitations": release.limits()},
    }
    if metrics := [row for verdict in release.sampled() for row in _metrics(verdict)]:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _metrics(verdict: Verdict) -> list[dict[str, Any]]:
    """One row for the whole suite, and one without interval for each slice that has a plain number."""
    name = f"{verdict.metric} ({verdict.suite})"
    row: dict[str, Any] = {"type": name, "value": verdict.estimate, "slice": "all"}
    if verdict.interval:
        row["confidenceInterval"] = {"lowerBound": verdict.interval[0], "upperBound": verdict.interval[1]}
    rows = [row]
    for slice_name, value in sorted(verdict.slices.items()):
        number = value.get("estimate") if isinstance(value, dict) else value
        if slice_name and isinstance(number, str | int | float):
            rows.append({"type": name, "value": str(number), "slice": slice_name})
    return rows
