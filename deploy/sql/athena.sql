-- The tables of a catalog_tagger warehouse as views of Amazon Athena.
-- Athena takes one statement at a time; LOCATION needs s3://.

DROP TABLE IF EXISTS runs_files;

CREATE EXTERNAL TABLE runs_files (`run_id` string, `started_at` string, `committed_at` string, `source` string, `bundles` array<string>, `tracks` bigint, `tagged` bigint, `quarantined` bigint, `up_to_date` bigint, `segments` bigint, `audio_s` double, `wall_s` double, `removed` bigint, `size_bytes` bigint, `kind` string) STORED AS PARQUET LOCATION 's3://bucket/warehouse/commits/';

DROP TABLE IF EXISTS segments_files;

CREATE EXTERNAL TABLE segments_files (`track_id` string, `run_id` string, `start_s` double, `end_s` double, `p_speech` float, `p_music` float, `p_female` float, `tags` array<struct<tag:string, score:float>>) STORED AS PARQUET LOCATION 's3://bucket/warehouse/segments/';

DROP TABLE IF EXISTS fingerprints_files;

CREATE EXTERNAL TABLE fingerprints_files (`track_id` string, `run_id` string, `start_s` double, `peaks` array<smallint>) STORED AS PARQUET LOCATION 's3://bucket/warehouse/fingerprints/';

DROP TABLE IF EXISTS tracks_files;

CREATE EXTERNAL TABLE tracks_files (`track_id` string, `run_id` string, `status` string, `error_code` string, `error_message` string, `uri` string, `audio_etag` string, `size_bytes` bigint, `codec` string, `sample_rate_hz` int, `channels` int, `duration_s` double, `scanned_s` double, `speech_fraction` float, `music_fraction` float, `content_type` string, `content_confidence` float, `bundles` array<string>, `tagged_at` timestamp, `attempts` int, `voice_gender` string, `voice_gender_confidence` float, `tags` array<struct<tag:string, score:float>>, `embedding` array<float>, `content_probabilities` struct<music:float, speech:float, mixed:float, other:float, speech_led:float, music_led:float, by_turns:float>) STORED AS PARQUET LOCATION 's3://bucket/warehouse/tracks/';

DROP TABLE IF EXISTS songs_files;

CREATE EXTERNAL TABLE songs_files (`track_id` string, `run_id` string, `song_track_id` string, `start_s` double, `end_s` double, `song_start_s` double, `rate` double, `pitch_semitones` double, `score` double, `expected_false_matches` double) STORED AS PARQUET LOCATION 's3://bucket/warehouse/songs/';

DROP TABLE IF EXISTS duplicates_files;

CREATE EXTERNAL TABLE duplicates_files (`track_id` string, `run_id` string, `other_track_id` string, `start_s` double, `end_s` double, `song_start_s` double, `rate` double, `pitch_semitones` double, `score` double, `expected_false_matches` double) STORED AS PARQUET LOCATION 's3://bucket/warehouse/duplicates/';

DROP TABLE IF EXISTS searches_files;

CREATE EXTERNAL TABLE searches_files (`track_id` string, `run_id` string, `track_run_id` string, `searched_s` double, `music_s` double, `known_s` double, `unknown_s` double, `stretches` array<struct<start_s:double, end_s:double>>, `music` array<struct<start_s:double, end_s:double>>) STORED AS PARQUET LOCATION 's3://bucket/warehouse/searches/';

DROP TABLE IF EXISTS flags_files;

CREATE EXTERNAL TABLE flags_files (`flag_id` string, `run_id` string, `track_id` string, `kind` string, `field` string, `current_value` string, `suggested_value` string, `confidence` double, `evidence` array<struct<start_s:double, end_s:double, scores:array<struct<name:string, score:float>>>>, `reason` string, `first_seen_run` string, `state` string, `audio_etag` string, `uri` string) STORED AS PARQUET LOCATION 's3://bucket/warehouse/flags/';

DROP TABLE IF EXISTS label_noise_files;

CREATE EXTERNAL TABLE label_noise_files (`run_id` string, `field` string, `current_value` string, `true_value` string, `tracks` bigint, `expected` double) STORED AS PARQUET LOCATION 's3://bucket/warehouse/label_noise/';

DROP TABLE IF EXISTS flag_precision_files;

CREATE EXTERNAL TABLE flag_precision_files (`run_id` string, `kind` string, `field` string, `confidence` double, `flags` bigint, `expected_precision` double, `low` double, `high` double, `is_cut` boolean) STORED AS PARQUET LOCATION 's3://bucket/warehouse/flag_precision/';

DROP TABLE IF EXISTS decisions_files;

CREATE EXTERNAL TABLE decisions_files (`flag_id` string, `run_id` string, `decision` string, `kind` string, `field` string, `confidence` double, `current_value` string, `audio_etag` string, `first_seen_run` string) STORED AS PARQUET LOCATION 's3://bucket/warehouse/decisions/';

CREATE OR REPLACE VIEW runs AS SELECT run_id, started_at, committed_at, source, bundles, tracks, tagged, quarantined, up_to_date, segments, audio_s, wall_s, removed, size_bytes, kind FROM runs_files;

CREATE OR REPLACE VIEW newest_runs AS SELECT kind, run_id FROM (SELECT kind, run_id, row_number() OVER (PARTITION BY kind ORDER BY committed_at DESC, run_id DESC) AS newest FROM runs) ranked WHERE newest = 1;

CREATE OR REPLACE VIEW segments_history AS SELECT f.track_id, f.run_id, f.start_s, f.end_s, f.p_speech, f.p_music, f.p_female, f.tags FROM segments_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW fingerprints_history AS SELECT f.track_id, f.run_id, f.start_s, f.peaks FROM fingerprints_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW tracks_history AS SELECT f.track_id, f.run_id, f.status, f.error_code, f.error_message, f.uri, f.audio_etag, f.size_bytes, f.codec, f.sample_rate_hz, f.channels, f.duration_s, f.scanned_s, f.speech_fraction, f.music_fraction, f.content_type, f.content_confidence, f.bundles, f.tagged_at, f.attempts, f.voice_gender, f.voice_gender_confidence, f.tags, f.embedding, f.content_probabilities FROM tracks_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW songs_history AS SELECT f.track_id, f.run_id, f.song_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM songs_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW duplicates_history AS SELECT f.track_id, f.run_id, f.other_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM duplicates_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW searches_history AS SELECT f.track_id, f.run_id, f.track_run_id, f.searched_s, f.music_s, f.known_s, f.unknown_s, f.stretches, f.music FROM searches_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW flags_history AS SELECT f.flag_id, f.run_id, f.track_id, f.kind, f.field, f.current_value, f.suggested_value, f.confidence, f.evidence, f.reason, f.first_seen_run, f.state, f.audio_etag, f.uri FROM flags_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW label_noise_history AS SELECT f.run_id, f.field, f.current_value, f.true_value, f.tracks, f.expected FROM label_noise_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW flag_precision_history AS SELECT f.run_id, f.kind, f.field, f.confidence, f.flags, f.expected_precision, f.low, f.high, f.is_cut FROM flag_precision_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW decisions_history AS SELECT f.flag_id, f.run_id, f.decision, f.kind, f.field, f.confidence, f.current_value, f.audio_etag, f.first_seen_run FROM decisions_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW tracks AS SELECT track_id, run_id, status, error_code, error_message, uri, audio_etag, size_bytes, codec, sample_rate_hz, channels, duration_s, scanned_s, speech_fraction, music_fraction, content_type, content_confidence, bundles, tagged_at, attempts, voice_gender, voice_gender_confidence, tags, embedding, content_probabilities FROM (SELECT h.track_id, h.run_id, h.status, h.error_code, h.error_message, h.uri, h.audio_etag, h.size_bytes, h.codec, h.sample_rate_hz, h.channels, h.duration_s, h.scanned_s, h.speech_fraction, h.music_fraction, h.content_type, h.content_confidence, h.bundles, h.tagged_at, h.attempts, h.voice_gender, h.voice_gender_confidence, h.tags, h.embedding, h.content_probabilities, row_number() OVER (PARTITION BY h.track_id ORDER BY r.committed_at DESC, h.tagged_at DESC, h.run_id DESC) AS newest FROM tracks_history h JOIN runs r ON h.run_id = r.run_id) ranked WHERE newest = 1;

CREATE OR REPLACE VIEW segments AS SELECT s.track_id, s.run_id, s.start_s, s.end_s, s.p_speech, s.p_music, s.p_female, s.tags FROM segments_history s JOIN tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id;

CREATE OR REPLACE VIEW fingerprints AS SELECT s.track_id, s.run_id, s.start_s, s.peaks FROM fingerprints_history s JOIN tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id;

CREATE OR REPLACE VIEW songs AS SELECT s.track_id, s.run_id, s.song_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM songs_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW duplicates AS SELECT s.track_id, s.run_id, s.other_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM duplicates_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW searches AS SELECT s.track_id, s.run_id, s.track_run_id, s.searched_s, s.music_s, s.known_s, s.unknown_s, s.stretches, s.music FROM searches_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW flags AS SELECT s.flag_id, s.run_id, s.track_id, s.kind, s.field, s.current_value, s.suggested_value, s.confidence, s.evidence, s.reason, s.first_seen_run, s.state, s.audio_etag, s.uri FROM flags_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW label_noise AS SELECT s.run_id, s.field, s.current_value, s.true_value, s.tracks, s.expected FROM label_noise_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW flag_precision AS SELECT s.run_id, s.kind, s.field, s.confidence, s.flags, s.expected_precision, s.low, s.high, s.is_cut FROM flag_precision_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW decisions AS SELECT s.flag_id, s.run_id, s.decision, s.kind, s.field, s.confidence, s.current_value, s.audio_etag, s.first_seen_run FROM decisions_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW track_tags AS SELECT track_id, tag, score FROM tracks CROSS JOIN UNNEST(tags) AS tagged (tag, score);

CREATE OR REPLACE VIEW segment_tags AS SELECT track_id, start_s, end_s, tag, score FROM segments CROSS JOIN UNNEST(tags) AS tagged (tag, score);
