//! What `top` shows, and what the keys do.

use super::terminal::{DOWN, UP};
use crate::args::Key;
use crate::ps;
use crate::servers::{Connection, Found};
use rustix::process::Signal;

pub(super) enum Order {
    Quit,
    End(Connection, Signal),
}

pub(super) struct View {
    pub(super) sort: Key,
    found: Found,
    /// The connection that is selected: of which server, and its number.
    selected: Option<(usize, u64)>,
    /// What was asked, and is done if the answer is y.
    question: Option<(Connection, Signal)>,
    said: String,
}

const KEYS: &str = "j k select   a age  c cpu  m memory  i id  p client   x end  X kill   q quit";

impl View {
    pub(super) fn new(sort: Key) -> View {
        let found = Found { servers: Vec::new(), not_seen: Vec::new() };
        View { sort, found, selected: None, question: None, said: String::new() }
    }

    pub(super) fn update(&mut self, found: Found) {
        self.found = found;
        let all = self.all();
        if !self.selected.is_some_and(|selected| all.contains(&selected)) {
            self.selected = all.first().copied();
        }
    }

    pub(super) fn say(&mut self, text: String) {
        self.said = text;
    }

    /// Every connection, in the order of the screen.
    fn all(&self) -> Vec<(usize, u64)> {
        let servers = self.found.servers.iter().enumerate();
        let rows = servers.flat_map(|(index, server)| {
            server.connections.iter().map(move |connection| (index, connection.id))
        });
        rows.collect()
    }

    fn connection(&self) -> Option<&Connection> {
        let (server, id) = self.selected?;
        self.found.servers.get(server)?.connections.iter().find(|one| one.id == id)
    }

    /// What a key that was pressed is to do.
    pub(super) fn press(&mut self, key: u8) -> Option<Order> {
        if let Some((connection, signal)) = self.question.take() {
            self.said = String::new();
            return (key == b'y').then_some(Order::End(connection, signal));
        }
        self.said = String::new();
        match key {
            b'q' => return Some(Order::Quit),
            UP => self.step(-1),
            DOWN => self.step(1),
            b'a' => self.order(Key::Age),
            b'c' => self.order(Key::Cpu),
            b'm' => self.order(Key::Memory),
            b'i' => self.order(Key::Id),
            b'p' => self.order(Key::Peer),
            b'x' => self.ask(Signal::TERM),
            b'X' => self.ask(Signal::KILL),
            _ => {}
        }
        None
    }

    fn order(&mut self, key: Key) {
        self.sort = key;
        ps::sort(&mut self.found, key);
    }

    fn step(&mut self, by: isize) {
        let all = self.all();
        let at = all.iter().position(|row| Some(*row) == self.selected).unwrap_or(0);
        let next = at.saturating_add_signed(by).min(all.len().saturating_sub(1));
        self.selected = all.get(next).copied();
    }

    fn ask(&mut self, signal: Signal) {
        self.question = self.connection().map(|connection| (connection.clone(), signal));
    }

    /// The screen as a whole, for so many columns and rows.
    pub(super) fn frame(&self, (columns, rows): (usize, usize)) -> String {
        let mut lines = Vec::new();
        let mut selected_line = 0;
        for (index, server) in self.found.servers.iter().enumerate() {
            lines.extend(ps::head(server).into_iter().map(|line| (line, false)));
            lines.push((format!("  {}", ps::COLUMNS), false));
            for connection in &server.connections {
                let selected = self.selected == Some((index, connection.id));
                if selected {
                    selected_line = lines.len();
                }
                lines.push((format!("  {}", ps::row(connection)), selected));
            }
        }
        if lines.is_empty() {
            lines.push(("No server of this library runs here.".to_owned(), false));
        }
        // The last row is for the keys; what is selected stays in sight.
        let room = rows.saturating_sub(1).max(1);
        let first = (selected_line + 1).saturating_sub(room);
        let mut frame = String::from("\x1b[H");
        for (line, selected) in lines.iter().skip(first).take(room) {
            let line: String = line.chars().take(columns).collect();
            match selected {
                true => frame += &format!("\x1b[7m{line}\x1b[0m\x1b[K\n"),
                false => frame += &format!("{line}\x1b[K\n"),
            }
        }
        let last: String = self.last_line().chars().take(columns).collect();
        frame + &format!("\x1b[J\x1b[{rows};1H{last}\x1b[K")
    }

    fn last_line(&self) -> String {
        match &self.question {
            Some((connection, signal)) => format!(
                "End connection {} of {} with {} to process {}? y/n",
                connection.id,
                connection.peer,
                if *signal == Signal::KILL { "SIGKILL" } else { "SIGTERM" },
                connection.pid
            ),
            None if !self.said.is_empty() => self.said.clone(),
            None => KEYS.to_owned(),
        }
    }
}
