//! What scrapers are answered by, through the life of the server.

use crate::engine::answerer::Answerer;
use crate::engine::Engine;
use crate::error::Error;
use crate::metrics::MetricsReader;
use crate::net::place::Place;
use crate::stats::StatsReader;

impl Engine {
    /// Listens for scrapers at one more address, before serving begins; its names.
    pub(crate) fn serve_metrics(&mut self, place: Place<'_>) -> Result<Vec<String>, Error> {
        self.rights.check()?;
        self.phase.check_listen(&place)?;
        let answerer = self.answerer.get_or_insert_with(Box::<Answerer>::default);
        answerer.listen(&place, &mut self.common.owned)
    }

    pub(crate) fn metrics_reader(&self) -> MetricsReader {
        let stats = StatsReader(self.common.board.clone());
        MetricsReader::new(stats, self.endpoints.listening().collect())
    }

    /// Serving begins.
    pub(super) fn begin_answerer(&mut self) {
        if self.answerer.is_some() {
            let metrics = self.metrics_reader();
            let common = &mut self.common;
            self.answerer.iter_mut().for_each(|one| one.begin(metrics.clone(), common));
        }
    }

    /// The child has ended, perhaps; false: it has not.
    pub(super) fn take_answerers_end(&mut self) -> bool {
        self.answerer.as_mut().is_some_and(|answerer| answerer.take_end(&mut self.common))
    }

    /// Makes the next child if it is time to.
    pub(super) fn look_at_answerer(&mut self) {
        if let Some(answerer) = &mut self.answerer {
            answerer.look(&mut self.common);
        }
    }

    /// The server has stopped.
    pub(super) fn end_answerer(&mut self) {
        if let Some(answerer) = &mut self.answerer {
            answerer.end(&mut self.common);
        }
    }
}
