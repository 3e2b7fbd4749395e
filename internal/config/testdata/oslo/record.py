#!/usr/bin/python3
"""Records how oslo.config's parser reads corpus.ini: one line per assignment."""
import json
import os

from oslo_config import cfg

here = os.path.dirname(os.path.abspath(__file__))
sections, normalized = {}, {}
parser = cfg.ConfigParser(os.path.join(here, "corpus.ini"), sections)
parser._add_normalized(normalized)
parser.parse()
with open(os.path.join(here, "corpus.golden"), "w") as out:
    for section in sorted(normalized):
        for key in sorted(normalized[section]):
            for value in normalized[section][key]:
                out.write(json.dumps([section, key, value]) + "\n")
