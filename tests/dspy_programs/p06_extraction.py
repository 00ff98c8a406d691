"""Information extraction: several typed outputs of one call."""

import dspy


class ExtractInfo(dspy.Signature):
    """Extract structured information from text."""

    text: str = dspy.InputField()
    title: str = dspy.OutputField()
    headings: list[str] = dspy.OutputField()
    entities: list[dict[str, str]] = dspy.OutputField(desc="a list of entities and their metadata")
    year: int = dspy.OutputField()
    confidence: float = dspy.OutputField()


class Extract(dspy.Module):
    def __init__(self):
        super().__init__()
        self.extract = dspy.Predict(ExtractInfo)

    def forward(self, text):
        found = self.extract(text=text)
        count = len(found.headings)
        return dspy.Prediction(title=found.title, headings=found.headings, entities=found.entities, count=count)


def build():
    return Extract()


INPUTS = [{"text": "Apple Inc. announced its latest iPhone 14 today."}]
MODE = "static"
