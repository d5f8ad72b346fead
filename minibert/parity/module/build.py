"""Build a learner's class from a configuration, whatever its arguments and its configuration are called.

A configuration is BERT's config.json. Arguments are recognised by name (`d_model` is the hidden size), a configuration
object by its own class if the file has one; what has an unknown name and no default is asked for: `--config-arg`.
"""

import contextlib
import copy
import inspect
import json

from ...plumbing.files import UserError
from ..listening import is_library, learners_modules
from .words import CONFIGS, SETTING, plain


def settings_from(config):
    """All that a class may ask for, by BERT's names: the configuration, and what follows from it."""
    words = {"dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
             "hidden_dim": "intermediate_size", "dropout": "hidden_dropout_prob",
             "attention_dropout": "attention_probs_dropout_prob", "activation": "hidden_act"}  # fmt: skip
    named = {words.get(key, key): value for key, value in config.items()} if "dim" in config else dict(config)
    hidden, heads = named["hidden_size"], named["num_attention_heads"]
    return {
        "layer_norm_eps": 1e-12, "type_vocab_size": 2, "num_labels": 6, "device": "cpu", "batch_first": True,
        "add_pooling_layer": True, "head_dim": hidden // heads, "all_head_size": hidden,
    } | named  # fmt: skip


class Settings(dict):
    """A configuration for classes that bring none: a dict with attributes that knows each setting by all its names."""

    def find(self, name):
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        setting = SETTING.get(plain(name))
        if plain(name) == "hiddendim":
            setting = "intermediate_size"
        if setting is None or not dict.__contains__(self, setting):
            raise KeyError(name)
        return dict.__getitem__(self, setting)

    def __getattr__(self, name):
        try:
            return self.find(name)
        except KeyError:
            raise AttributeError(f"the configuration has no {name!r}; give it: --config-arg {name}=VALUE") from None

    def __getitem__(self, name):
        return self.find(name)

    def __contains__(self, name):
        try:
            self.find(name)
        except KeyError:
            return False
        return True

    def get(self, name, default=None):
        return self.find(name) if name in self else default

    def to_dict(self):
        return dict(self)


class Builder:
    """Builds `target` (a class, or a function that makes a module) for any configuration, in the same way each time."""

    def __init__(self, target, given=None, source=None):
        """given: {argument: value} from --config-arg. source: the module where the target's configuration may be."""
        self.target, self.given, self.way = target, given or {}, None
        self.source = source or inspect.getmodule(target)

    def build(self, config):
        """A new module. UserError says why it cannot be built, and what may help."""
        settings = settings_from(config)
        settings |= {name: self.value_of(name, settings) for name in self.given}
        set_constants(self.source, settings)
        ways = [self.way] if self.way else list(self.config_makers())
        failures = []
        for name, make in ways:
            try:
                module = self.target(**self.arguments(self.target, settings, make))
                self.way = (name, make)
                return module
            except Missing as error:
                raise UserError(str(error)) from None
            except Exception as error:
                failures.append((name, error))
        name, error = failures[0]
        words = " ".join(str(error).split())
        raise UserError(
            f"{self.target.__name__} cannot be built from {name}: {type(error).__name__}: {words[:200]}; say what it "
            "takes: --config-arg NAME=VALUE (a value, or a word of config.json)"
        ) from error

    def arguments(self, function, settings, make_config):
        """{argument: value} for a class or function. Missing where one has no value."""
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return {}
        names = {plain(parameter.name) for parameter in parameters}
        found = {}
        for parameter in parameters:
            name = parameter.name
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if name in self.given:
                whole = self.given[name] == "config"
                found[name] = make_config(settings) if whole else self.value_of(name, settings)
            elif is_config(name, parameter.annotation):
                found[name] = make_config(settings)
            elif (setting := setting_of(name, names)) in settings:
                found[name] = as_annotated(settings[setting], parameter)
            elif parameter.default is parameter.empty:
                raise Missing(
                    f"{getattr(function, '__name__', function)} takes `{name}`, which is no setting that the ladder "
                    f"knows; say: --config-arg {name}=VALUE, or {name}=config for the whole configuration"
                )
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if function is self.target and takes_all and not any(is_config(p.name, p.annotation) for p in parameters):
            found |= {name: self.value_of(name, settings) for name in self.given if name not in found}
        return found

    def value_of(self, name, settings):
        """What --config-arg gives an argument: a setting, where it names one."""
        value = self.given[name]
        return settings.get(value, value) if hashable(value) else value

    def config_makers(self):
        """(what it is, a function settings -> configuration object), the likeliest first."""
        for config_class in unique(self.config_classes()):
            yield config_class.__name__, lambda settings, made=config_class: self.make_config(made, settings)
        for name, value in vars(self.source).items() if self.source else ():
            if (
                plain(name) in (*CONFIGS, "modelconfig", "bertconfig")
                and not inspect.isclass(value)
                and not callable(value)
            ):
                yield f"`{name}`", lambda settings, made=value: refill(copy.deepcopy(made), settings)
        yield "config.json", Settings

    def config_classes(self):
        target = self.target
        if inspect.isclass(getattr(target, "config_class", None)):
            yield target.config_class
        with contextlib.suppress(TypeError, ValueError):
            for parameter in inspect.signature(target).parameters.values():
                if (
                    parameter.annotation is not parameter.empty
                    and inspect.isclass(parameter.annotation)
                    and is_config(parameter.name, parameter.annotation)
                ):
                    if parameter.annotation is not dict:
                        yield parameter.annotation
        for name, value in vars(self.source).items() if self.source else ():
            if inspect.isclass(value) and plain(name).endswith(
                ("config", "args", "hparams", "configuration", "settings")
            ):
                yield value

    def make_config(self, config_class, settings):
        takes = inspect.signature(config_class).parameters
        arguments = self.arguments(config_class, settings, Settings)
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
            arguments = {
                key: value for key, value in settings.items() if key not in ("device", "model_type")
            } | arguments
        try:
            made = config_class(**arguments)
        except TypeError:
            made = config_class()
        return refill(made, settings, exact=hasattr(made, "to_dict"))


def set_constants(source, settings):
    """Sizes that stand as constants in the learner's files, `d_model = 768`, which classes read without being told.

    The eps of LayerNorm is no size: a wrong one is a mistake. RoBERTa's alone is set: its layers are asked with
    BERT's.
    """
    place = getattr(source, "__file__", None)
    if not place or is_library(place):
        return
    left = None if settings.get("model_type") == "roberta" else "layer_norm_eps"
    for module in learners_modules(source):
        names = {plain(name) for name, value in vars(module).items() if isinstance(value, (int, float))}
        for name, value in list(vars(module).items()):
            if isinstance(value, (int, float)) and not isinstance(value, bool) and len(name) > 1:
                word = setting_of(name, names)
                if isinstance(settings.get(word), (int, float)) and word != left:
                    setattr(module, name, type(value)(settings[word]))


class Missing(Exception):
    """An argument without a value."""


def hashable(value):
    return isinstance(value, (str, int, float, bool))


def unique(values):
    return list({id(value): value for value in values}.values())


def is_config(name, annotation):
    called = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return plain(name) in CONFIGS or plain(name).endswith("config") or called.lower().endswith("config")


def argument_names(target):
    """What a class or a function may be given, by name; None where that may be anything, as with a configuration."""
    parameters = inspect.signature(target).parameters.values()
    if any(p.kind is p.VAR_KEYWORD or is_config(p.name, p.annotation) for p in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]


def setting_of(name, names):
    """BERT's word for an argument; `names`: all arguments, because `hidden_dim` depends on its neighbours."""
    if plain(name) in ("hiddendim", "dhidden", "nhidden"):
        widths = {other for other in names if SETTING.get(other) == "hidden_size"} - {plain(name)}
        return "intermediate_size" if widths else "hidden_size"
    if plain(name) == "maxlen" or plain(name) == "seqlen":
        return "max_position_embeddings"
    return SETTING.get(plain(name))


def as_annotated(value, parameter):
    """The activation may be asked for as a function."""
    default = parameter.default
    if value == "gelu" and callable(default) and not isinstance(default, str):
        from torch import nn

        return nn.GELU if inspect.isclass(default) else nn.functional.gelu
    return value


def refill(config, settings, exact=False):
    """Set every setting that an object or a dict has under some name (exact: under BERT's), and BERT's names."""
    if isinstance(config, dict):
        names = {plain(key) for key in config}
        for key in config:
            if (setting := setting_of(key, names)) in settings:
                config[key] = settings[setting]
        return Settings(settings | config)
    present = [name for name in dir(config) if not name.startswith("_")]
    names = {plain(name) for name in present}
    for name in [*present, *settings]:
        setting = name if exact or name in settings else setting_of(name, names)
        if setting not in settings or callable(getattr(type(config), name, None)):
            continue
        with contextlib.suppress(Exception):  # frozen, or a property
            setattr(config, name, settings[setting])
    return config


def parse_given(texts):
    """--config-arg NAME=VALUE ...: {name: value}; a value is JSON, else text. UserError without an equals sign."""
    given = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UserError(f"--config-arg {text}: expected NAME=VALUE")
        try:
            given[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            given[name.strip()] = value.strip()
    return given
