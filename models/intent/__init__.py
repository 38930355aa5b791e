"""Will this visit end with a purchase? River pipelines over sessions, page by page or as a row."""

from models.intent.pipelines import of_pages, of_shoppers, of_summaries
from models.intent.stack import StackedClassifier

__all__ = ["StackedClassifier", "of_pages", "of_shoppers", "of_summaries"]
