-- The tables of a catalog_tagger warehouse as views of BigQuery.
-- In the dataset catalog_tagger; of files in gs://, or in S3 by an external connection (WITH CONNECTION).

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.runs_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/commits/*.parquet'], enable_list_inference = true);

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.segments_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/segments/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/segments/run_id=none/schema-32e92ce4529f.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.fingerprints_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/fingerprints/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/fingerprints/run_id=none/schema-fa64d077b4a8.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.tracks_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/tracks/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/tracks/run_id=none/schema-d482dfdd0c19.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.songs_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/songs/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/songs/run_id=none/schema-8233d1b2411f.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.duplicates_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/duplicates/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/duplicates/run_id=none/schema-62ac18e201e0.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.searches_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/searches/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/searches/run_id=none/schema-330c2ff91cb4.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.flags_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/flags/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/flags/run_id=none/schema-08e4421e468f.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.label_noise_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/label_noise/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/label_noise/run_id=none/schema-c0098a602a50.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.flag_precision_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/flag_precision/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/flag_precision/run_id=none/schema-8396d7c8d051.parquet');

CREATE OR REPLACE EXTERNAL TABLE catalog_tagger.decisions_files OPTIONS (format = 'PARQUET', uris = ['s3://bucket/warehouse/decisions/*.parquet'], enable_list_inference = true, reference_file_schema_uri = 's3://bucket/warehouse/decisions/run_id=none/schema-a218672ca71a.parquet');

CREATE OR REPLACE VIEW catalog_tagger.runs AS SELECT run_id, started_at, committed_at, source, bundles, tracks, tagged, quarantined, up_to_date, segments, audio_s, wall_s, removed, size_bytes, kind FROM catalog_tagger.runs_files;

CREATE OR REPLACE VIEW catalog_tagger.newest_runs AS SELECT kind, run_id FROM (SELECT kind, run_id, row_number() OVER (PARTITION BY kind ORDER BY committed_at DESC, run_id DESC) AS newest FROM catalog_tagger.runs) ranked WHERE newest = 1;

CREATE OR REPLACE VIEW catalog_tagger.segments_history AS SELECT f.track_id, f.run_id, f.start_s, f.end_s, f.p_speech, f.p_music, f.p_female, f.tags FROM catalog_tagger.segments_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.fingerprints_history AS SELECT f.track_id, f.run_id, f.start_s, f.peaks FROM catalog_tagger.fingerprints_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.tracks_history AS SELECT f.track_id, f.run_id, f.status, f.error_code, f.error_message, f.uri, f.audio_etag, f.size_bytes, f.codec, f.sample_rate_hz, f.channels, f.duration_s, f.scanned_s, f.speech_fraction, f.music_fraction, f.content_type, f.content_confidence, f.bundles, f.tagged_at, f.attempts, f.voice_gender, f.voice_gender_confidence, f.tags, f.embedding, f.content_probabilities FROM catalog_tagger.tracks_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.songs_history AS SELECT f.track_id, f.run_id, f.song_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM catalog_tagger.songs_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.duplicates_history AS SELECT f.track_id, f.run_id, f.other_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM catalog_tagger.duplicates_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.searches_history AS SELECT f.track_id, f.run_id, f.track_run_id, f.searched_s, f.music_s, f.known_s, f.unknown_s, f.stretches, f.music FROM catalog_tagger.searches_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.flags_history AS SELECT f.flag_id, f.run_id, f.track_id, f.kind, f.field, f.current_value, f.suggested_value, f.confidence, f.evidence, f.reason, f.first_seen_run, f.state, f.audio_etag, f.uri FROM catalog_tagger.flags_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.label_noise_history AS SELECT f.run_id, f.field, f.current_value, f.true_value, f.tracks, f.expected FROM catalog_tagger.label_noise_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.flag_precision_history AS SELECT f.run_id, f.kind, f.field, f.confidence, f.flags, f.expected_precision, f.low, f.high, f.is_cut FROM catalog_tagger.flag_precision_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.decisions_history AS SELECT f.flag_id, f.run_id, f.decision, f.kind, f.field, f.confidence, f.current_value, f.audio_etag, f.first_seen_run FROM catalog_tagger.decisions_files f JOIN catalog_tagger.runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW catalog_tagger.tracks AS SELECT track_id, run_id, status, error_code, error_message, uri, audio_etag, size_bytes, codec, sample_rate_hz, channels, duration_s, scanned_s, speech_fraction, music_fraction, content_type, content_confidence, bundles, tagged_at, attempts, voice_gender, voice_gender_confidence, tags, embedding, content_probabilities FROM (SELECT h.track_id, h.run_id, h.status, h.error_code, h.error_message, h.uri, h.audio_etag, h.size_bytes, h.codec, h.sample_rate_hz, h.channels, h.duration_s, h.scanned_s, h.speech_fraction, h.music_fraction, h.content_type, h.content_confidence, h.bundles, h.tagged_at, h.attempts, h.voice_gender, h.voice_gender_confidence, h.tags, h.embedding, h.content_probabilities, row_number() OVER (PARTITION BY h.track_id ORDER BY r.committed_at DESC, h.tagged_at DESC, h.run_id DESC) AS newest FROM catalog_tagger.tracks_history h JOIN catalog_tagger.runs r ON h.run_id = r.run_id) ranked WHERE newest = 1;

CREATE OR REPLACE VIEW catalog_tagger.segments AS SELECT s.track_id, s.run_id, s.start_s, s.end_s, s.p_speech, s.p_music, s.p_female, s.tags FROM catalog_tagger.segments_history s JOIN catalog_tagger.tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id;

CREATE OR REPLACE VIEW catalog_tagger.fingerprints AS SELECT s.track_id, s.run_id, s.start_s, s.peaks FROM catalog_tagger.fingerprints_history s JOIN catalog_tagger.tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id;

CREATE OR REPLACE VIEW catalog_tagger.songs AS SELECT s.track_id, s.run_id, s.song_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM catalog_tagger.songs_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW catalog_tagger.duplicates AS SELECT s.track_id, s.run_id, s.other_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM catalog_tagger.duplicates_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW catalog_tagger.searches AS SELECT s.track_id, s.run_id, s.track_run_id, s.searched_s, s.music_s, s.known_s, s.unknown_s, s.stretches, s.music FROM catalog_tagger.searches_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW catalog_tagger.flags AS SELECT s.flag_id, s.run_id, s.track_id, s.kind, s.field, s.current_value, s.suggested_value, s.confidence, s.evidence, s.reason, s.first_seen_run, s.state, s.audio_etag, s.uri FROM catalog_tagger.flags_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW catalog_tagger.label_noise AS SELECT s.run_id, s.field, s.current_value, s.true_value, s.tracks, s.expected FROM catalog_tagger.label_noise_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW catalog_tagger.flag_precision AS SELECT s.run_id, s.kind, s.field, s.confidence, s.flags, s.expected_precision, s.low, s.high, s.is_cut FROM catalog_tagger.flag_precision_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW catalog_tagger.decisions AS SELECT s.flag_id, s.run_id, s.decision, s.kind, s.field, s.confidence, s.current_value, s.audio_etag, s.first_seen_run FROM catalog_tagger.decisions_history s JOIN catalog_tagger.newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW catalog_tagger.track_tags AS SELECT track_id, t.tag, t.score FROM catalog_tagger.tracks, UNNEST(tags) AS t;

CREATE OR REPLACE VIEW catalog_tagger.segment_tags AS SELECT track_id, start_s, end_s, t.tag, t.score FROM catalog_tagger.segments, UNNEST(tags) AS t;
