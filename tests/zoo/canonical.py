"""The text forms in which a writer's answers are kept, and in which Tarn's are compared with them.

`tests/it/zoo.rs` makes the same forms from Arrow; a change here is a change there.

    NULL                 null
    boolean, integers    as in JSON
    float, double        "1.5e0": the shortest digits that give the same double; "NaN", "inf", "-inf", "-0e0"
    decimal              "12.30": all digits of its scale
    date                 "1969-12-31"
    time                 "23:59:59.000001"
    timestamp            "1969-12-31T23:59:59.000001", nine digits in nanoseconds, "Z" with a time zone
    string               as in JSON
    uuid                 "f79c3e09-677c-4bbd-a479-3f349cb785e7"
    binary, fixed        "0x00ff"
    list                 [...]
    map                  [[key, value], ...] in the order of their keys' JSON text
    struct               {"name": value, ...}
    variant              its JSON as a string
    geometry, geography  well-known binary, "0x…"
"""

import datetime
import decimal
import json
import math
import uuid

# Quantising must not round a decimal of 38 digits.
decimal.getcontext().prec = 80


def floating(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "-0e0" if math.copysign(1, value) < 0 else "0e0"
    sign, digits, exponent = decimal.Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    exponent += len(text) - 1
    text = text.rstrip("0")
    mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{exponent}"


def timestamp(value, zone):
    if zone and value.tzinfo:
        value = value.astimezone(datetime.timezone.utc)
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + ("Z" if zone else "")


def pairs(items):
    return sorted(([key, value] for key, value in items), key=lambda pair: json.dumps(pair[0], ensure_ascii=False))


def from_python(value, zone=None):
    """A value whose class tells its type, as PyIceberg and DuckDB give them."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return floating(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        return timestamp(value, bool(value.tzinfo))
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return "0x" + bytes(value).hex()
    if isinstance(value, dict):
        return {name: from_python(item) for name, item in value.items()}
    if isinstance(value, list):
        # PyArrow gives a map as a list of tuples.
        if value and all(isinstance(item, tuple) for item in value):
            return pairs((from_python(key), from_python(item)) for key, item in value)
        return [from_python(item) for item in value]
    raise TypeError(f"no text form for {type(value)}: {value!r}")


def from_spark(value, kind):
    """A value of a row that Spark collected, by its Spark type."""
    name = kind.typeName()
    if value is None:
        return None
    if name in ("timestamp", "timestamp_ntz"):
        return timestamp(value, name == "timestamp")
    if name == "array":
        return [from_spark(item, kind.elementType) for item in value]
    if name == "map":
        return pairs((from_spark(k, kind.keyType), from_spark(v, kind.valueType)) for k, v in value.items())
    if name == "struct":
        return {field.name: from_spark(value[i], field.dataType) for i, field in enumerate(kind.fields)}
    if name == "decimal":
        return format(value.quantize(decimal.Decimal(1).scaleb(-kind.scale)), "f")
    if name == "variant":
        return value.toJson()
    if name in ("geometry", "geography"):
        return "0x" + bytes(value.getBytes()).hex()
    return from_python(value)


def from_java(jvm, value, kind):
    """A value of a record of Iceberg's Java API, by its Iceberg type."""
    if value is None:
        return None
    name = kind.typeId().toString().lower()
    if name in ("float", "double"):
        return floating(float(value))
    if name == "decimal":
        return format(decimal.Decimal(value if isinstance(value, decimal.Decimal) else value.toPlainString()), "f")
    if name == "time":
        return java_seconds(jvm, value, "HH:mm:ss", 6)
    if name in ("timestamp", "timestamp_nano"):
        zone = kind.shouldAdjustToUTC()
        if isinstance(value, int):  # An identity partition's, as Iceberg's generic reader leaves it.
            instant = jvm.java.time.Instant.ofEpochSecond(*divmod(value, 10**9))
            value = jvm.java.time.LocalDateTime.ofInstant(instant, jvm.java.time.ZoneOffset.UTC)
        digits = 9 if name == "timestamp_nano" else 6
        return java_seconds(jvm, value, "yyyy-MM-dd'T'HH:mm:ss", digits) + ("Z" if zone else "")
    if name in ("binary", "fixed"):
        data = value if isinstance(value, (bytes, bytearray)) else jvm.org.apache.iceberg.util.ByteBuffers.toByteArray(value)
        return "0x" + bytes(data).hex()
    if name in ("date", "uuid"):
        return value.toString()
    if name == "list":
        return [from_java(jvm, item, kind.elementType()) for item in value]
    if name == "map":
        return pairs((from_java(jvm, k, kind.keyType()), from_java(jvm, value[k], kind.valueType())) for k in value)
    if name == "struct":
        fields = kind.fields()
        return {f.name(): from_java(jvm, value.getField(f.name()), f.type()) for f in fields}
    if isinstance(value, (bool, int, str)):
        return value
    return value.toString()


def java_seconds(jvm, value, pattern, digits):
    formatter = jvm.java.time.format.DateTimeFormatter.ofPattern(pattern + "." + "S" * digits)
    return value.format(formatter)
