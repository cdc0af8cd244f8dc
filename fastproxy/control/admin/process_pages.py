"""/memory and /runtime: what the process uses, and which runtime keys the configuration sets."""

from typing import Any

from fastproxy.control.process_memory import resident_bytes


def memory_json(pids: tuple[int, ...]) -> dict[str, str]:
    """Build /memory: of all processes together, for there is one number that means the same in all of them."""
    resident = sum(map(resident_bytes, pids))
    return {
        "allocated": str(resident),
        "heap_size": str(resident),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": str(resident),
    }


def runtime_json(dump: dict[str, Any]) -> dict[str, Any]:
    """Build /runtime from the redacted dump: every key of the static layers, and its value in each of them."""
    bootstrap = dump["configs"][0].get("bootstrap", {})
    layers = bootstrap.get("layered_runtime", {}).get("layers", [])
    flat = [_flat(layer.get("static_layer", {}), "") for layer in layers]
    entries = {}
    for key in sorted({key for layer in flat for key in layer}):
        values = [layer.get(key, "") for layer in flat]
        # The last layer that has the key counts.
        final = next(layer[key] for layer in reversed(flat) if key in layer)
        entries[key] = {"layer_values": values, "final_value": final}
    return {"entries": entries, "layers": [layer.get("name", "") for layer in layers]}


def _flat(values: dict[str, Any], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            found[prefix + key] = str(value).lower()
        elif isinstance(value, float):
            found[prefix + key] = f"{value:.15g}"
        else:
            found[prefix + key] = str(value)
    return found
